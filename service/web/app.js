// The demo page: what the visitor gave, the request made of it, the answer shown. Texts reach the page only as
// textContent, and only the newest request may show its answer.
import { showAnswer, showFailure, showNothing, showPending } from "./view.js";

const element = (id) => document.getElementById(id);
const MOST_LABELS_ON_SLIDER = 10;
const TYPING_DELAY_MS = 250;
const SLIDER_DELAY_MS = 60;
const EXAMPLES_SHOWN = { image: 5, audio: 5, text: 3 };
const FILE_KINDS = {
  image: {
    invitation: "Drop a picture, paste one, or choose a file",
    formats: "JPEG, PNG, WebP, GIF, BMP or TIFF",
    noModel: "none of the models served here takes pictures",
    curlName: "photo.jpg",
  },
  audio: {
    invitation: "Drop a recording, or choose a file",
    formats: "WAV, FLAC, Ogg, MP3 or AIFF",
    noModel: "none of the models served here takes recordings",
    curlName: "clip.wav",
  },
};

const state = {
  models: [], kind: "image", model: null, files: { image: null, audio: null }, text: "", labelCount: 0, given: new Set(),
};
let timer = 0;
let running = null;
let key = ""; // kept nowhere else, so that it is gone with the page

// --- request ---------------------------------------------------------------------------------------------------------

function ask(url, options = {}) {
  return fetch(url, key ? { ...options, headers: { ...options.headers, authorization: `Bearer ${key}` } } : options);
}

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
  form.append("files", state.files[state.kind], state.files[state.kind].name);
  return { method: "POST", body: form };
}

const textBody = () => JSON.stringify({ text: state.text });
const quoted = (word) => `'${word.replaceAll("'", "'\\''")}'`;

function curlCommand() {
  if (!state.model) return "";
  const url = quoted(predictUrl()) + (key ? ' \\\n     -H "authorization: Bearer $KEY"' : "");
  if (state.kind === "text") {
    return `curl -H 'content-type: application/json' \\\n     -d ${quoted(textBody())} \\\n     ${url}`;
  }
  const name = state.files[state.kind]?.name ?? FILE_KINDS[state.kind].curlName;
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
  const given = state.kind === "text" ? state.text.trim() : state.files[state.kind];
  if (!state.model || !given) {
    showPending(false);
    showNothing();
    return;
  }
  const mine = new AbortController();
  running = mine;
  const start = performance.now();
  try {
    const response = await ask(predictUrl(), { ...requestOptions(), signal: mine.signal });
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
  element("file-input").hidden = kind === "text";
  element("text-input").hidden = kind !== "text";
  if (kind !== "text") showFile();
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

function chooseFile(file) {
  if (!file) return;
  const kind = kindOf(file);
  if (state.kind !== kind) chooseKind(kind);
  if (state.kind !== kind) {
    showFailure({ code: "wrong_input_kind", message: FILE_KINDS[kind].noModel });
    return;
  }
  state.files[kind] = file;
  state.given.add(kind);
  showFile();
  pressExample(null);
  inputChanged();
}

function kindOf(file) {
  if (file.type.startsWith("audio/")) return "audio";
  return state.kind === "audio" && !file.type.startsWith("image/") ? "audio" : "image";
}

function showFile() {
  const { kind, files: { [kind]: file } } = state;
  const [preview, player] = [element("preview"), element("player")];
  const shown = kind === "image" ? preview : player;
  for (const part of [preview, player]) {
    URL.revokeObjectURL(part.src);
    part.removeAttribute("src");
    part.hidden = part !== shown || !file;
  }
  if (file) shown.src = URL.createObjectURL(file);
  // A browser cannot show or play every format that the service reads.
  shown.onerror = () => { shown.hidden = true; };
  preview.alt = file ? `Your picture ${file.name}` : "";
  element("invitation").hidden = Boolean(file);
  element("invitation-title").textContent = FILE_KINDS[kind].invitation;
  element("invitation-formats").textContent = FILE_KINDS[kind].formats;
  element("file-name").textContent = file?.name ?? "";
  element("file-name").hidden = !file;
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
  const response = await ask(`/models/${encodeURIComponent(model.name)}/examples`);
  const inputs = response.ok ? (await response.json()).inputs : [];
  if (state.model !== model) return;
  element("examples-box").hidden = inputs.length === 0;
  const button = { image: pictureExample, audio: recordingExample, text: sentenceExample }[model.kind];
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

const bytesOf = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

function pictureExample(base64, index) {
  const bytes = bytesOf(base64);
  const isPng = bytes[0] === 0x89;
  const file = new File([bytes], `example-${index + 1}.${isPng ? "png" : "jpg"}`, { type: isPng ? "image/png" : "image/jpeg" });
  const button = exampleButton("picture", () => chooseFile(file));
  const thumbnail = new Image();
  thumbnail.src = URL.createObjectURL(file);
  thumbnail.alt = `Example ${index + 1}`;
  button.append(thumbnail);
  return button;
}

function recordingExample(base64, index) {
  const bytes = bytesOf(base64);
  const ending = { R: "wav", f: "flac", O: "ogg", F: "aiff" }[String.fromCharCode(bytes[0])] ?? "mp3";
  const file = new File([bytes], `example-${index + 1}.${ending}`, { type: `audio/${ending}` });
  const button = exampleButton("sentence", () => chooseFile(file));
  button.textContent = `Recording ${index + 1}`;
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
element("file").addEventListener("change", (event) => chooseFile(event.target.files[0]));
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
  chooseFile(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => {
  const file = event.clipboardData.files[0];
  if (!file) return;
  event.preventDefault();
  chooseFile(file);
});

async function loadModels() {
  const response = await ask("/models");
  const answer = await response.json();
  element("key-box").hidden = !(key || response.status === 401);
  if (!response.ok) {
    showFailure(answer.error);
    return;
  }
  state.models = answer.models;
  const kinds = new Set(state.models.map((model) => model.kind));
  document.querySelector(".tabs").hidden = kinds.size < 2;
  for (const radio of document.querySelectorAll('input[name="kind"]')) radio.parentElement.hidden = !kinds.has(radio.value);
  chooseKind(["image", "audio", "text"].find((kind) => kinds.has(kind)));
}

async function start() {
  try {
    await loadModels();
  } catch (error) {
    showFailure({ code: "unreachable", message: String(error.message) });
  }
}

element("key").addEventListener("change", (event) => {
  key = event.target.value.trim();
  start();
});
start();
