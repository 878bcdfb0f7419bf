// The demo page: what the visitor gave, the request made of it, the answer shown. Texts reach the page only as
// textContent, and only the newest request may show its answer.
import { showAnswer, showFailure, showNothing, showPending } from "./view.js";

const element = (id) => document.getElementById(id);
const MOST_LABELS_ON_SLIDER = 10;
const TYPING_DELAY_MS = 250;
const SLIDER_DELAY_MS = 60;
const EXAMPLES_SHOWN = { image: 5, text: 3 };

const state = { models: [], kind: "image", model: null, image: null, text: "", labelCount: 0, given: new Set() };
let timer = 0;
let running = null;

// --- request ---------------------------------------------------------------------------------------------------------

function predictUrl() {
  const query = new URLSearchParams({ model: state.model.name });
  if (state.labelCount > 0) query.set("label_count", state.labelCount);
  return `${location.origin}/predict?${query}`;
}

function requestOptions() {
  if (state.kind === "text") {
    return { method: "POST", headers: { "content-type": "application/json" }, body: textBody() };
  }
  const form = new FormData();
  form.append("files", state.image, state.image.name);
  return { method: "POST", body: form };
}

const textBody = () => JSON.stringify({ text: state.text });
const quoted = (word) => `'${word.replaceAll("'", "'\\''")}'`;

function curlCommand() {
  if (!state.model) return "";
  const url = quoted(predictUrl());
  if (state.kind === "text") {
    return `curl -H 'content-type: application/json' \\\n     -d ${quoted(textBody())} \\\n     ${url}`;
  }
  const name = state.image ? state.image.name : "photo.jpg";
  // curl reads "," and ";" in a file's name as its own, unless the name stands in double quotes.
  const path = /[",;\\]/.test(name) ? `"${name.replaceAll(/["\\]/g, "\\$&")}"` : name;
  return `curl -F ${quoted(`files=@${path}`)} \\\n     ${url}`;
}

// --- answer ----------------------------------------------------------------------------------------------------------

function inputChanged(delay = 0) {
  element("curl").textContent = curlCommand();
  clearTimeout(timer);
  running?.abort();
  running = null; // whatever it answers, it was asked about another input
  showPending(true);
  timer = setTimeout(predict, delay);
}

async function predict() {
  const given = state.kind === "image" ? state.image : state.text.trim();
  if (!state.model || !given) {
    showPending(false);
    showNothing();
    return;
  }
  const mine = new AbortController();
  running = mine;
  const start = performance.now();
  try {
    const response = await fetch(predictUrl(), { ...requestOptions(), signal: mine.signal });
    const answer = await response.json();
    const milliseconds = performance.now() - start;
    if (running !== mine) return;
    element("json").textContent = JSON.stringify(answer, null, 2);
    if (response.ok) showAnswer(answer, state.model, milliseconds);
    else showFailure(answer.error);
  } catch (error) {
    if (running === mine) showFailure({ code: "unreachable", message: String(error.message) });
  } finally {
    if (running === mine) showPending(false);
  }
}

// --- input -----------------------------------------------------------------------------------------------------------

function chooseKind(kind) {
  const candidates = state.models.filter((model) => model.kind === kind);
  if (candidates.length === 0) return;
  state.kind = kind;
  document.querySelector(`input[name="kind"][value="${kind}"]`).checked = true;
  element("image-input").hidden = kind !== "image";
  element("text-input").hidden = kind !== "text";
  element("model").replaceChildren(
    ...candidates.map((model) => new Option(`${model.name} · version ${model.version}`, model.name)),
  );
  chooseModel(candidates[0].name);
}

function chooseModel(name) {
  state.model = state.models.find((model) => model.name === name);
  const most = Math.min(state.model.class_count, MOST_LABELS_ON_SLIDER);
  element("count").max = most;
  element("count-max").textContent = most;
  element("count").value = state.labelCount;
  countChanged();
  loadExamples(state.model);
}

function countChanged() {
  state.labelCount = Number(element("count").value);
  const words = state.labelCount ? String(state.labelCount) : "model decides";
  element("count-value").textContent = words;
  element("count").setAttribute("aria-valuetext", words);
  element("count").style.setProperty("--filled", `${(100 * state.labelCount) / element("count").max}%`);
  inputChanged(SLIDER_DELAY_MS);
}

function chooseImage(file) {
  if (!file) return;
  if (state.kind !== "image") chooseKind("image");
  if (state.kind !== "image") {
    showFailure({ code: "wrong_input_kind", message: "none of the models served here takes pictures" });
    return;
  }
  state.image = file;
  state.given.add("image");
  const preview = element("preview");
  URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  preview.alt = `Your picture ${file.name}`;
  preview.hidden = false;
  // A browser cannot show every format that the service reads.
  preview.onerror = () => { preview.hidden = true; };
  element("invitation").hidden = true;
  element("file-name").textContent = file.name;
  element("file-name").hidden = false;
  pressExample(null);
  inputChanged();
}

function textChanged(delay = 0) {
  state.text = element("text").value;
  state.given.add("text");
  pressExample(null);
  inputChanged(delay);
}

function chooseText(text) {
  element("text").value = text;
  textChanged();
}

// --- examples --------------------------------------------------------------------------------------------------------

async function loadExamples(model) {
  const response = await fetch(`/models/${encodeURIComponent(model.name)}/examples`);
  const inputs = response.ok ? (await response.json()).inputs : [];
  if (state.model !== model) return;
  element("examples-box").hidden = inputs.length === 0;
  const button = model.kind === "image" ? pictureExample : sentenceExample;
  const buttons = inputs.slice(0, EXAMPLES_SHOWN[model.kind]).map(button);
  element("examples").replaceChildren(...buttons);
  // A first answer to look at, but never over what a visitor gave while the examples were on their way.
  if (!state.given.has(model.kind)) buttons[0]?.click();
}

function exampleButton(className, choose) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = `example ${className}`;
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => {
    choose();
    pressExample(button);
  });
  return button;
}

function pictureExample(base64, index) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const isPng = bytes[0] === 0x89;
  const file = new File([bytes], `example-${index + 1}.${isPng ? "png" : "jpg"}`);
  const button = exampleButton("picture", () => chooseImage(file));
  const thumbnail = new Image();
  thumbnail.src = URL.createObjectURL(file);
  thumbnail.alt = `Example ${index + 1}`;
  button.append(thumbnail);
  return button;
}

function sentenceExample(sentence) {
  const button = exampleButton("sentence", () => chooseText(sentence));
  button.textContent = sentence;
  button.title = sentence;
  return button;
}

function pressExample(pressed) {
  for (const button of element("examples").children) button.setAttribute("aria-pressed", String(button === pressed));
}

// --- events ----------------------------------------------------------------------------------------------------------

for (const radio of document.querySelectorAll('input[name="kind"]')) {
  radio.addEventListener("change", () => chooseKind(radio.value));
}
element("model").addEventListener("change", (event) => chooseModel(event.target.value));
element("count").addEventListener("input", countChanged);
element("file").addEventListener("change", (event) => chooseImage(event.target.files[0]));
element("text").addEventListener("input", () => textChanged(TYPING_DELAY_MS));

// Browsers keep the clipboard from pages that come over plain HTTP from another machine.
element("copy").hidden = !navigator.clipboard;
element("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(element("curl").textContent);
  element("copy").textContent = "Copied";
  setTimeout(() => { element("copy").textContent = "Copy"; }, 1500);
});

const carriesFiles = (event) => event.dataTransfer.types.includes("Files");
for (const type of ["dragenter", "dragover"]) {
  document.addEventListener(type, (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    document.body.classList.add("dragging");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  document.body.classList.remove("dragging");
  chooseImage(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => {
  const file = event.clipboardData.files[0];
  if (!file) return;
  event.preventDefault();
  chooseImage(file);
});

try {
  state.models = (await (await fetch("/models")).json()).models;
  document.querySelector(".tabs").hidden = new Set(state.models.map((model) => model.kind)).size < 2;
  chooseKind(state.models.some((model) => model.kind === "image") ? "image" : "text");
} catch (error) {
  showFailure({ code: "unreachable", message: String(error.message) });
}
