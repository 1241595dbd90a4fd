// Editing in place: closes forms, carries the new version to the other forms of the page, and shows the new list at its time.
"use strict";

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-close]");
  const slot = button?.closest(".slot");
  if (!slot) return;
  slot.replaceChildren();
  slot.previousElementSibling?.focus();
});

// What this page has changed itself it has seen. Only numbers of problems are those of the old list.
document.body.addEventListener("postil:version", (event) => {
  for (const input of document.querySelectorAll("input[name=version]:not([data-of-report])")) input.value = event.detail.value;
});

document.addEventListener("htmx:afterSwap", () => {
  const isDone = document.querySelector("#checking [data-done]") !== null;
  if (isDone && document.querySelector(".slot form") === null) location.reload();
});

// Whose session has ended while they typed comes in again by the form itself, which keeps what was typed.
document.addEventListener("htmx:beforeSwap", (event) => {
  const form = event.detail.requestConfig?.elt;
  if (event.detail.xhr.status !== 401 || !(form instanceof HTMLFormElement)) return;
  event.detail.shouldSwap = false;
  form.submit();
});
