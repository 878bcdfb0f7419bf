// How an answer looks: bars that grow, move and leave; what went wrong in friendly words.

const element = (id) => document.getElementById(id);
const isCalm = matchMedia("(prefers-reduced-motion: reduce)");

const FRIENDLY = {
  not_an_image: "That does not look like a picture.",
  image_corrupt: "This picture is damaged.",
  image_too_large: "This picture is too large.",
  not_a_recording: "That does not sound like a recording.",
  recording_corrupt: "This recording is damaged.",
  recording_too_large: "This recording is too large.",
  body_too_large: "This is more than one request may hold.",
  text_too_long: "This text is too long.",
  invalid_text: "This text cannot be read.",
  empty_input: "There is nothing in it.",
  wrong_input_kind: "This model takes another kind of input.",
  model_not_found: "This model is no longer served here.",
  forbidden: "Your key does not allow this.",
  rate_limited: "That was too fast for your key. Try again in a moment.",
  unauthorized: "This needs an API key.",
  not_ready: "The service is still loading its models.",
  queue_full: "The service is busy. Try again in a moment.",
  unreachable: "The service does not answer.",
};

const percent = (probability) => {
  const value = probability * 100;
  if (value > 0 && value < 0.1) return "< 0.1%";
  return `${value.toFixed(1)}%`;
};

const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

export function showPending(isPending) {
  document.body.classList.toggle("pending", isPending);
}

export function showNothing() {
  reset();
  element("nothing").hidden = false;
  element("nothing").textContent = "The labels will stand here, each with its probability.";
}

export function showAnswer(answer, model, milliseconds) {
  if (answer.predictions[0].words) {
    showWords(answer, milliseconds);
    return;
  }
  reset(false);
  const { labels, label_count: count, sparsity_rate: rate } = answer.predictions[0];
  showBars(labels);
  const zeros = model.class_count - count;
  element("nothing").hidden = count > 0;
  element("nothing").textContent = "An empty set: none of the labels applies.";
  element("zeros").hidden = count === 0 || zeros === 0;
  element("zeros").textContent =
    `The other ${counted(zeros, "label")} of this model ${zeros === 1 ? "has" : "have"} a probability of exactly 0.`;
  element("facts").textContent = [
    counted(count, "label"),
    `sparsity rate ${rate.toFixed(3)}`,
    `${answer.model.name} version ${answer.model.version}`,
    `${milliseconds.toFixed(0)} ms`,
  ].join("  ·  ");
  element("spoken").textContent =
    `${counted(count, "label")}: ${labels.map(({ label, probability }) => `${label} ${percent(probability)}`).join(", ")}`;
}

function showWords(answer, milliseconds) {
  reset();
  const { words, truncated } = answer.predictions[0];
  element("words").replaceChildren(...words.map(newWord));
  element("zeros").hidden = !truncated;
  element("zeros").textContent = "The text is longer than the model reads: the words at its end have no labels.";
  element("facts").textContent = [
    counted(words.length, "word"),
    `${answer.model.name} version ${answer.model.version}`,
    `${milliseconds.toFixed(0)} ms`,
  ].join("  ·  ");
  element("spoken").textContent =
    words.map(({ text, labels }) => `${text} ${labels.map(({ label }) => label).join(" or ")}`).join(", ");
}

function newWord({ text, labels }) {
  const item = document.createElement("li");
  item.classList.toggle("unread", labels.length === 0);
  item.title = labels.map(({ label, probability }) => `${label} ${percent(probability)}`).join(", ");
  const [word, tag] = ["word", "tag"].map((className) => {
    const part = document.createElement("span");
    part.className = className;
    return part;
  });
  word.textContent = text;
  tag.textContent = labels.map(({ label }) => label).join(" ") || "–";
  item.append(word, tag);
  return item;
}

export function showFailure({ code, message }) {
  reset();
  const [title, detail] = element("failure").children;
  title.textContent = FRIENDLY[code] ?? "That did not work.";
  detail.textContent = `${message} (${code})`;
  element("failure").hidden = false;
}

function reset(clearBars = true) {
  if (clearBars) element("labels").replaceChildren();
  element("words").replaceChildren();
  for (const id of ["nothing", "zeros", "failure"]) element(id).hidden = true;
  for (const id of ["facts", "spoken"]) element(id).textContent = "";
}

function showBars(labels) {
  const list = element("labels");
  const old = new Map([...list.children].map((row) => [row.dataset.label, row]));
  const tops = new Map([...old.values()].map((row) => [row, row.offsetTop]));
  const rows = labels.map(({ label, probability }) => {
    const row = old.get(label) ?? newRow(label);
    row.querySelector(".value").textContent = percent(probability);
    row.dataset.width = `${probability * 100}%`;
    return row;
  });
  list.replaceChildren(...rows);
  list.offsetTop; // the browser must see a new bar at zero width, or it has nothing to grow from
  for (const row of rows) {
    row.classList.remove("entering");
    row.querySelector(".bar").style.width = row.dataset.width;
    const moved = (tops.get(row) ?? row.offsetTop) - row.offsetTop;
    if (moved !== 0 && !isCalm.matches) {
      row.animate([{ transform: `translateY(${moved}px)` }, { transform: "none" }], { duration: 300, easing: "ease-out" });
    }
  }
}

function newRow(label) {
  const row = document.createElement("li");
  row.className = "entering";
  row.dataset.label = label;
  const [name, value, track, bar] = ["name", "value", "track", "bar"].map((className) => {
    const part = document.createElement(className === "name" || className === "value" ? "span" : "div");
    part.className = className;
    return part;
  });
  name.textContent = label;
  track.setAttribute("aria-hidden", "true");
  track.append(bar);
  row.append(name, value, track);
  return row;
}
