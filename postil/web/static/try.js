// Answers side by side while they are written: one request each, all at once, so that one batch answers them.
// What a model says is put in as text, never as markup.
"use strict";

async function readLines(body, take) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line) take(JSON.parse(line));
  }
}

function say(place, told) {
  if (told.text) place.textContent += told.text;
  if (told.text || told.ended || told.trouble) place.parentElement.querySelector("[data-waits]")?.remove();
  if (!told.trouble) return;
  const note = document.createElement("p");
  note.className = "note trouble";
  note.setAttribute("role", "alert");
  note.textContent = [told.trouble, told.advice].filter(Boolean).join(" ");
  place.after(note);
}

async function write(place, signal) {
  try {
    const reply = await fetch(place.dataset.answer, { method: "POST", signal });
    if (reply.status === 401) return location.reload();
    if (reply.ok) await readLines(reply.body, (told) => say(place, told));
    else if (reply.headers.get("content-type")?.includes("json")) say(place, await reply.json());
    return reply.ok && !place.parentElement.querySelector(".trouble");
  } catch {
    return signal.aborted; // stopped, or the connection is gone: what came until then is kept by the service
  } finally {
    place.removeAttribute("aria-busy");
  }
}

// When all have ended the question comes anew, with what can be done now; where something went wrong, its note stays.
async function writeAll(trial) {
  const stop = new AbortController();
  trial.querySelector("[data-stop]")?.addEventListener("click", () => stop.abort());
  const places = [...trial.querySelectorAll("[data-answer]")];
  const path = trial.dataset.fresh;
  delete trial.dataset.fresh;
  const notes = (await Promise.all(places.map((place) => write(place, stop.signal)))).includes(false)
    ? [...trial.querySelectorAll(".answers .trouble")] : [];
  await htmx.ajax("GET", path, { target: trial, swap: "outerHTML" });
  document.getElementById(trial.id)?.querySelector(".answers")?.after(...notes);
}

document.addEventListener("htmx:load", (event) => {
  const found = event.detail.elt.matches?.("[data-fresh]") ? [event.detail.elt] : event.detail.elt.querySelectorAll("[data-fresh]");
  for (const trial of found) writeAll(trial);
});

// What was pressed is gone with the part of the page that it stood in: the keyboard goes on at the question.
document.addEventListener("htmx:afterSettle", (event) => {
  const trial = event.detail.elt.closest?.("article.trial");
  if (trial && event.detail.requestConfig?.verb === "post" && document.activeElement === document.body) trial.focus({ preventScroll: true });
});

const box = document.querySelector("#ask textarea");
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.elt.id !== "ask" || !event.detail.successful) return;
  document.getElementById("ask-trouble").replaceChildren();
  box.value = "";
  document.getElementById("goes-on")?.remove(); // the next one begins anew, or goes on from a question below
});
box?.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) box.form.requestSubmit();
});
for (const sample of document.querySelectorAll("[data-fill]")) {
  sample.addEventListener("click", (event) => {
    event.preventDefault();
    box.value = sample.textContent;
    box.focus();
  });
}
