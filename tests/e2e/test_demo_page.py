"""The demo page in a real browser: Debian's chromium, driven through chromedriver."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import soundfile
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from service.access.keys import new_key, write_keys

CHROMIUM = shutil.which("chromium")
CHROMEDRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER), reason="needs chromium and chromedriver in PATH (apt install chromium-driver)"
)


@pytest.fixture(scope="module")
def url(serve, bundles: Path) -> str:
    return serve(models=bundles).url


@pytest.fixture(scope="module")
def guarded(serve, bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A service that asks for a key, and the key."""
    key, secret = new_key("visitor")
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    write_keys(path, [key])
    return serve(models=bundles, keys_file=path).url, secret


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", "hide-scrollbars",
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(CHROMEDRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: WebDriver, url: str) -> Iterator[WebDriver]:
    prefer_dark(browser, False)
    resize(browser, 1240, 900)
    browser.get(url)
    until(browser, lambda: answered(browser))
    yield browser
    assert_no_script_failed(browser)


@pytest.fixture(scope="module")
def picture(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real picture in a file whose name the shell and curl could stumble over."""
    name = next(model["name"] for model in httpx.get(f"{url}/models").json()["models"] if model["kind"] == "image")
    path = tmp_path_factory.mktemp("picture") / "my 'first' picture;1.png"
    path.write_bytes(base64.b64decode(httpx.get(f"{url}/models/{name}/examples").json()["inputs"][-1]))
    return path


def assert_no_script_failed(browser: WebDriver) -> None:
    # Chromium counts an answer of 4xx as an error of the page; a script that fails or a policy broken is a real one.
    messages = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert [message for message in messages if "status of 4" not in message] == []


def until(browser: WebDriver, fact) -> None:
    WebDriverWait(browser, 20, poll_frequency=0.05).until(lambda _: fact())


def text_of(browser: WebDriver, id_: str) -> str:
    return browser.find_element(By.ID, id_).get_property("textContent")


def answered(browser: WebDriver) -> bool:
    return bool(text_of(browser, "facts")) and "pending" not in browser.find_element(By.TAG_NAME, "body").get_attribute(
        "class"
    )


def shown_labels(browser: WebDriver) -> list[str]:
    # In one call: between two of them the page may have replaced the elements.
    return browser.execute_script(
        "return [...document.querySelectorAll('#labels .name')].map((name) => name.innerText)"
    )


def labels_of(answer: httpx.Response) -> list[str]:
    return [label["label"] for label in answer.json()["predictions"][0]["labels"]]


def move_slider(browser: WebDriver, steps: int) -> None:
    slider = browser.find_element(By.ID, "count")
    slider.send_keys((Keys.ARROW_RIGHT if steps > 0 else Keys.ARROW_LEFT) * abs(steps))


def choose_tab(browser: WebDriver, kind: str) -> None:
    """Show the input of a kind, and wait for its examples: the page answers the first of them by itself."""
    browser.find_element(By.XPATH, f"//input[@value='{kind}']").click()
    example = {"image": ".example.picture", "text": ".example.sentence"}[kind]
    until(browser, lambda: len(browser.find_elements(By.CSS_SELECTOR, example)) > 1 and answered(browser))


def type_text(browser: WebDriver, text: str) -> None:
    area = browser.find_element(By.ID, "text")
    area.clear()
    area.send_keys(text)


def resize(browser: WebDriver, width: int, height: int) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def prefer_dark(browser: WebDriver, is_dark: bool) -> None:
    feature = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def test_a_chosen_image_shows_its_labels_and_the_slider_changes_them(page, url, picture, tmp_path):
    page.find_element(By.ID, "file").send_keys(str(picture))
    expected = labels_of(httpx.post(f"{url}/predict", files={"files": picture.read_bytes()}))
    until(page, lambda: text_of(page, "file-name") == picture.name and shown_labels(page) == expected)
    for count in (1, 2, 3):
        move_slider(page, 1)
        more = labels_of(httpx.post(f"{url}/predict?label_count={count}", files={"files": picture.read_bytes()}))
        assert len(more) == count
        until(page, lambda more=more: shown_labels(page) == more)
    assert text_of(page, "count-value") == "3"
    move_slider(page, -3)
    until(page, lambda: shown_labels(page) == expected)
    assert text_of(page, "count-value") == "model decides"


_GIVE_FILE = """
const [event, name, base64] = arguments;
const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], name, { type: "image/png" }));
const options = { bubbles: true, cancelable: true };
document.body.dispatchEvent(
  event === "drop"
    ? new DragEvent("drop", { ...options, dataTransfer: data })
    : new ClipboardEvent("paste", { ...options, clipboardData: data }),
);
"""


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_an_image_may_be_dropped_or_pasted_even_where_texts_are_typed(page, url, picture, event):
    choose_tab(page, "text")
    page.execute_script(_GIVE_FILE, event, f"{event}.png", base64.b64encode(picture.read_bytes()).decode())
    expected = labels_of(httpx.post(f"{url}/predict", files={"files": picture.read_bytes()}))
    until(page, lambda: text_of(page, "file-name") == f"{event}.png" and shown_labels(page) == expected)
    assert page.find_element(By.ID, "preview").is_displayed()


def test_an_answer_that_comes_late_never_replaces_a_newer_one(page):
    page.execute_script(
        "const real = window.fetch; window.begun = 0; window.ended = 0;"
        "window.fetch = async (url, { signal, ...options }) => {"
        "  const isLate = window.begun++ === 0;"
        "  if (isLate) await new Promise((done) => setTimeout(done, 1000));"
        "  const answer = await real(url, options); window.ended++; return answer; };"
    )
    move_slider(page, 1)
    until(page, lambda: page.execute_script("return window.begun") == 1)
    move_slider(page, 3)
    until(page, lambda: len(shown_labels(page)) == 4)
    until(page, lambda: page.execute_script("return window.ended") == 2)
    time.sleep(0.2)
    assert len(shown_labels(page)) == 4


def test_a_typed_text_shows_its_labels(page, url):
    choose_tab(page, "text")
    sentence = "The implant logs keystrokes and captures screenshots every minute."
    type_text(page, sentence)
    expected = labels_of(httpx.post(f"{url}/predict", json={"text": sentence}))
    until(page, lambda: sentence in text_of(page, "curl") and shown_labels(page) == expected and answered(page))


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl in PATH (apt install curl)")
@pytest.mark.parametrize("kind", ["image", "text"])
def test_the_curl_command_shown_gives_the_answer_shown(page, picture, kind):
    choose_tab(page, kind)
    if kind == "image":
        page.find_element(By.ID, "file").send_keys(str(picture))
    else:
        given = 'It\'s a "quoted" $HOME `id` \\ text'
        type_text(page, given)
    move_slider(page, 2)
    distinctive = "picture;1" if kind == "image" else "quoted"
    until(page, lambda: all(part in text_of(page, "curl") for part in (distinctive, "label_count=2")))
    until(page, lambda: len(shown_labels(page)) == 2 and answered(page))
    done = subprocess.run(
        ["sh", "-c", f"{text_of(page, 'curl')} -s"], cwd=picture.parent, capture_output=True, check=True
    )
    assert json.loads(done.stdout) == json.loads(text_of(page, "json"))


def test_what_goes_wrong_is_said_in_friendly_words_and_the_next_input_is_answered(page, picture, tmp_path):
    (tmp_path / "note.png").write_text("not a picture")
    page.find_element(By.ID, "file").send_keys(str(tmp_path / "note.png"))
    until(page, lambda: "That does not look like a picture." in text_of(page, "failure"))
    assert shown_labels(page) == []
    page.find_element(By.ID, "file").send_keys(str(picture))
    until(page, lambda: answered(page) and shown_labels(page))
    assert not page.find_element(By.ID, "failure").is_displayed()


def test_nothing_a_visitor_gives_becomes_part_of_the_page(page, picture, tmp_path):
    attack = "<img src=x onerror=\"document.title='attacked'\">"
    hostile = tmp_path / (attack.replace("/", "") + ".png")
    hostile.write_bytes(picture.read_bytes())
    page.find_element(By.ID, "file").send_keys(str(hostile))
    until(page, lambda: text_of(page, "file-name") == hostile.name and answered(page))
    choose_tab(page, "text")
    type_text(page, attack)
    until(page, lambda: "onerror" in text_of(page, "curl") and answered(page))
    assert page.title == "labelset"
    assert page.find_elements(By.CSS_SELECTOR, "img[src=x]") == []


def test_the_page_works_by_keyboard_alone(page):
    reached = set()
    for _ in range(20):
        ActionChains(page).send_keys(Keys.TAB).perform()
        active = page.switch_to.active_element
        reached.add(active.get_attribute("id") or active.get_attribute("name") or active.tag_name)
    assert {"kind", "model", "file", "count", "copy", "button", "summary"} <= reached


def test_the_page_fits_a_telephone(page):
    resize(page, 360, 740)
    for kind in ("image", "text"):
        choose_tab(page, kind)
        assert page.execute_script("return document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["image", "text"])
def test_screenshots(page, tmp_path, kind, scheme):
    """For the README: a folder named by LABELSET_SCREENSHOTS keeps them, else they lie among the test's own files."""
    prefer_dark(page, scheme == "dark")
    choose_tab(page, kind)
    example = page.find_elements(By.CSS_SELECTOR, ".example")[1]
    example.click()
    until(page, lambda: example.get_attribute("aria-pressed") == "true" and answered(page))
    height = page.execute_script("return document.documentElement.scrollHeight")
    resize(page, 1240, height)
    page.execute_script("return Promise.all(document.getAnimations().map((animation) => animation.finished))")
    path = Path(os.environ.get("LABELSET_SCREENSHOTS") or tmp_path) / f"{kind}-{scheme}.png"
    assert page.save_screenshot(str(path))
    with Image.open(path) as picture:
        assert picture.size == (1240, height)


def test_a_recording_can_be_heard_and_shows_its_labels(browser, serve, trained_audio, audio_data):
    url = serve(models=trained_audio.bundle).url
    browser.get_log("browser")  # what earlier pages left
    browser.get(url)
    until(browser, lambda: answered(browser))  # the first example, by itself
    player = browser.find_element(By.ID, "player")
    assert player.is_displayed()
    assert not browser.find_element(By.ID, "preview").is_displayed()
    assert not browser.find_element(By.CSS_SELECTOR, ".tabs").is_displayed()
    clip = next(example.audio for example in audio_data.test if example.audio.suffix == ".wav")
    expected = labels_of(httpx.post(f"{url}/predict", files={"files": clip.read_bytes()}))
    browser.find_element(By.ID, "file").send_keys(str(clip))
    until(browser, lambda: text_of(browser, "file-name") == clip.name and shown_labels(browser) == expected)
    until(browser, lambda: player.get_property("duration") == pytest.approx(soundfile.info(clip).duration, abs=0.01))
    assert f"files=@{clip.name}" in text_of(browser, "curl")
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_the_words_of_a_text_stand_with_their_tags(browser, serve, trained_tokens):
    url = serve(models=trained_tokens.bundle).url
    browser.get_log("browser")  # what earlier pages left
    browser.get(url)
    until(browser, lambda: answered(browser))  # the first example, by itself
    box = browser.find_element(By.ID, "text")
    box.clear()
    box.send_keys("the <b>dog</b> hears!")

    def shown() -> list[list[str]]:
        # In one step: the page may replace the words between two.
        script = "return [...document.querySelectorAll('#words li')].map(w => [...w.children].map(p => p.textContent))"
        return browser.execute_script(script)

    answer = httpx.post(f"{url}/predict", json={"text": "the <b>dog</b> hears!"}).json()["predictions"][0]
    expected = [[word["text"], word["labels"][0]["label"]] for word in answer["words"]]
    assert ["dog", "NOUN"] in expected
    until(browser, lambda: shown() == expected)
    assert text_of(browser, "facts").startswith(f"{len(expected)} words")
    assert not browser.find_element(By.ID, "zeros").is_displayed()
    box.send_keys(" dog" * trained_tokens.recipe.input.max_length)
    until(browser, lambda: browser.find_element(By.ID, "zeros").is_displayed() and answered(browser))
    assert "longer than the model reads" in text_of(browser, "zeros")
    assert [shown()[0][0], shown()[-1][0]] == ["the", "dog"]
    assert "unread" in browser.find_element(By.CSS_SELECTOR, "#words li:last-child").get_attribute("class")
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_where_keys_are_asked_for_the_page_asks_the_visitor(browser, guarded):
    url, secret = guarded
    browser.get(url)
    field = browser.find_element(By.ID, "key")
    until(browser, field.is_displayed)
    assert "unauthorized" in text_of(browser, "failure")
    field.send_keys("labelset_wrong", Keys.ENTER)
    until(browser, lambda: "not known" in text_of(browser, "failure"))
    field.clear()
    field.send_keys(secret, Keys.ENTER)
    until(browser, lambda: answered(browser) and shown_labels(browser))
    assert secret not in text_of(browser, "curl")
    assert "$KEY" in text_of(browser, "curl")
    # With the page the key is gone.
    browser.refresh()
    until(browser, lambda: "unauthorized" in text_of(browser, "failure"))
    assert browser.execute_script("return localStorage.length + sessionStorage.length") == 0
    assert_no_script_failed(browser)


def test_without_keys_the_page_asks_for_none(page):
    assert not page.find_element(By.ID, "key").is_displayed()


def test_the_documentation_page_works_under_its_policy(browser, url):
    browser.get(f"{url}/docs")
    until(browser, lambda: browser.find_elements(By.ID, "operations-health-live_livez_get"))
    browser.find_element(By.ID, "operations-health-live_livez_get").click()
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "button.execute"))
    browser.find_element(By.CSS_SELECTOR, "button.execute").click()
    until(browser, lambda: browser.find_elements(By.CSS_SELECTOR, ".live-responses-table"))
    assert_no_script_failed(browser)
