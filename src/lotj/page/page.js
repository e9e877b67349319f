"use strict";
// The page of a practice. It asks the server twice a second what is new, and says what the person wants.

const find = (id) => document.getElementById(id);
const get = async (name) => {
  const answer = await fetch(name, { cache: "no-store" });
  if (!answer.ok) throw new Error((await answer.json()).why);
  return answer.json();
};
const tell = async (message) => {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch("do", { method: "POST", headers, body: JSON.stringify(message) });
  if (!answer.ok) throw new Error((await answer.json()).why);
};

let state = {};
let shownTrials = -1;

function draw(canvas, image, frame, width, height) {
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").drawImage(image, -frame * width, 0);
}

// A trial as a film: played, or looked through by hand.
class Film {
  constructor(root) {
    this.canvas = root.appendChild(document.createElement("canvas"));
    const row = root.appendChild(document.createElement("div"));
    row.className = "row";
    this.button = row.appendChild(document.createElement("button"));
    this.slider = row.appendChild(document.createElement("input"));
    Object.assign(this.slider, { type: "range", min: 0, value: 0 });
    this.slider.setAttribute("aria-label", "frame");
    this.words = root.appendChild(document.createElement("p"));
    this.words.className = "soft";
    this.canvas.hidden = row.hidden = true;
    this.row = row;
    this.button.onclick = () => this.play(!this.playing);
    this.slider.oninput = () => { this.play(false); this.show(); };
    setInterval(() => this.playing && this.next(), 150);
    this.play(false);
  }
  async load(trial, step) {
    if (this.trial === trial) return;
    this.trial = trial;
    this.shown = undefined; // the trial whose pictures are there
    try {
      const film = await get(`film/${trial}`);
      const image = new Image();
      image.src = film.picture;
      await image.decode();
      if (this.trial !== trial) return; // another one was asked for meanwhile
      Object.assign(this, { film, image, step, shown: trial });
      this.slider.max = film.frames - 1;
      this.slider.value = step ?? film.frames - 1;
      this.canvas.hidden = this.row.hidden = false;
      this.show();
      this.play(step === undefined);
    } catch (error) {
      this.canvas.hidden = this.row.hidden = true;
      this.words.textContent = error.message;
    }
  }
  play(on) {
    this.playing = on;
    this.button.textContent = on ? "Hold" : "Play";
  }
  next() {
    if (!this.film) return;
    this.slider.value = (Number(this.slider.value) + 1) % this.film.frames;
    this.show();
  }
  show() {
    const frame = Number(this.slider.value), { width, height, frames, scores } = this.film;
    draw(this.canvas, this.image, frame, width, height);
    const score = this.step === undefined && scores ? `, score ${scores[frame].toFixed(2)}` : "";
    this.words.textContent = `frame ${frame} of ${frames - 1}${score}${frame === this.step ? ": the one asked about" : ""}`;
  }
}
const last = new Film(find("lastFilm")), asked = new Film(find("questionFilm"));

function showQuestion() {
  find("ask").hidden = !state.asks;
  if (!state.asks) return;
  const [question] = state.questions, before = state.answered.at(-1);
  find("question").hidden = !question;
  find("asked").textContent = question
    ? `Trial ${question.trial}, after step ${question.step}. ${state.questions.length} open. Practice does not wait.`
    : `Nothing to answer now; ${state.answered.length} answered.`;
  if (question) asked.load(question.trial, question.step);
  find("undo").hidden = !before;
  find("undo").textContent = before ? `Undo (U): trial ${before.trial}, ${before.answer}` : "";
}

async function showCurve() {
  if (!state.done || shownTrials === state.done) return;
  shownTrials = state.done;
  const drawn = await get("curve"); // SVG of our own server
  find("none").hidden = true;
  for (const name of ["wide", "narrow"]) find(name).innerHTML = drawn[name];
}

function show() {
  const over = ["ended", "lost"].includes(state.status);
  find("status").textContent = { lost: "no connection", pausing: "pauses after this trial", stopping: "stops after this trial" }[state.status] ?? state.status;
  find("status").dataset.of = state.status;
  find("pause").textContent = ["paused", "pausing"].includes(state.status) ? "Go on" : "Pause";
  find("pause").disabled = over || state.status === "stopping" || !state.run;
  find("stop").disabled = over || state.status === "stopping" || !state.run;
  if (over) return takeOver(false);
  document.title = `${state.done}/${state.trials ?? "?"} ${state.task ?? "lotj"}`;
  find("task").textContent = state.task ?? "Practice";
  find("run").textContent = state.run ? `${state.run}, trial ${state.done} of ${state.trials}` : "";
  find("alarm").hidden = !state.alarm;
  find("alarm").textContent = `Alarm: ${state.alarm}`;
  find("correct").hidden = !state.axes;
  const rows = Object.entries(state.figures ?? {}).map(([name, text]) => {
    const row = document.createElement("div");
    row.append(Object.assign(document.createElement("dt"), { textContent: name }), Object.assign(document.createElement("dd"), { textContent: text }));
    return row;
  });
  find("figures").replaceChildren(...rows);
  find("notes").replaceChildren(...state.notes.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  if (state.last) {
    find("lastTitle").textContent = `Trial ${state.last}: ${state.predicted ? "counts as a success" : "no success"}`;
    last.load(state.last);
  }
  showQuestion();
}

async function poll() {
  try {
    state = await get("state");
    show();
    await showCurve();
  } catch {
    if (state.status !== "ended") state.status = "lost";
    show();
  }
  setTimeout(poll, state.status === "lost" || state.status === "ended" ? 3000 : 500);
}

async function change(message) {
  let refused = "";
  await tell(message).catch((error) => { refused = error.message; });
  find("refused").textContent = refused;
  find("refused").hidden = !refused;
  state = await get("state").catch(() => state);
  show();
}
find("pause").onclick = () => change({ do: find("pause").textContent === "Pause" ? "pause" : "go on" });
find("stop").onclick = () => change({ do: "stop" });
function answer(word) {
  const [question] = state.questions ?? [], before = (state.answered ?? []).at(-1);
  if (["yes", "no"].includes(word) && asked.shown !== question?.trial) return; // nobody has seen it yet
  if (word === "undo" ? before : question)
    change({ do: "answer", trial: (word === "undo" ? before : question).trial, answer: word });
}
document.querySelectorAll("[data-answer]").forEach((button) => { button.onclick = () => answer(button.dataset.answer); });
find("undo").onclick = () => answer("undo");

// Corrections: what is held by key, pad or gamepad is said ten times a second; the robot forgets it after 0.3 s.
const KEYS = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowUp: [1, 1], ArrowDown: [1, -1], r: [2, 1], f: [2, -1] };
const held = new Map();
let taken = false, saying = false;

function takeOver(on) {
  taken = on && state.axes === 3;
  held.clear();
  find("take").setAttribute("aria-pressed", String(taken));
  find("now").hidden = !taken;
}
function wanted() {
  const action = [0, 0, 0], speed = Number(find("speed").value), dead = (value) => (Math.abs(value ?? 0) < 0.15 ? 0 : value);
  for (const [axis, sign] of held.values()) action[axis] += sign * speed;
  for (const pad of navigator.getGamepads?.() ?? []) {
    if (!pad) continue;
    action[0] += speed * dead(pad.axes[0]);
    action[1] -= speed * dead(pad.axes[1]);
    action[2] -= speed * dead(pad.axes[3]);
  }
  const limited = action.map((value) => Math.max(-1, Math.min(1, value)));
  return limited.some((value) => value) || held.size ? limited : [];
}
setInterval(async () => {
  if (!taken || saying) return;
  saying = true;
  try {
    await tell({ do: "hold", action: wanted() });
    const seen = await get("now");
    if (seen.picture) {
      const image = new Image();
      image.src = seen.picture;
      await image.decode();
      draw(find("now"), image, 0, seen.width, seen.height);
    }
  } catch { /* the next one may come through */ }
  saying = false;
}, 100);
find("take").onclick = () => takeOver(!taken);
find("pad").querySelectorAll("button").forEach((button) => {
  const direction = [Number(button.dataset.axis), Number(button.dataset.sign)];
  button.onpointerdown = (event) => { button.setPointerCapture(event.pointerId); if (taken) held.set(button, direction); };
  button.onpointerup = button.onpointercancel = () => held.delete(button);
});
for (const left of ["blur", "pagehide"]) addEventListener(left, () => held.clear());
document.addEventListener("visibilitychange", () => document.hidden && takeOver(false));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (taken && key in KEYS) {
    event.preventDefault();
    held.set(key, KEYS[key]);
  } else if (!event.repeat) {
    const word = { y: "yes", n: "no", s: "skip", u: "undo" }[key];
    if (word) answer(word);
    if (key === "c" && state.axes) takeOver(!taken);
  }
});
document.addEventListener("keyup", (event) => held.delete(event.key.length === 1 ? event.key.toLowerCase() : event.key));

poll();
