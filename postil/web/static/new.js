// A file is sent as it is while a bar says how far it is. Without this script the form sends it whole.
"use strict";

const upload = document.querySelector("[data-upload]");
if (upload) {
  const input = upload.querySelector("input[type=file]");
  const drop = upload.querySelector(".drop");
  const sending = upload.querySelector("[data-sending]");
  const bar = sending.querySelector("progress");
  const told = upload.querySelector("[data-told]");
  let request = null;

  const show = (isSending) => {
    sending.hidden = !isSending;
    drop.hidden = isSending;
  };
  const tell = (...sentences) => {
    show(false);
    told.replaceChildren(...sentences.filter(Boolean).map((sentence) => {
      const paragraph = document.createElement("p");
      paragraph.textContent = sentence;
      return paragraph;
    }));
    told.hidden = false;
    input.value = "";
    input.focus();
  };
  const done = () => {
    if (request.status === 201) {
      location.assign(`/data/${JSON.parse(request.responseText).id}`);
    } else if (request.status === 401) {
      tell(upload.dataset.signedOut);
    } else {
      let error = null;
      try { error = JSON.parse(request.responseText).error; } catch { /* no answer of ours */ }
      if (error) tell(error.message, error.hint); else tell(upload.dataset.broken);
    }
  };
  const send = (file) => {
    told.hidden = true;
    if (file.size > Number(upload.dataset.most)) return tell(upload.dataset.tooLarge);
    request = new XMLHttpRequest();
    request.open("POST", `/api/datasets?file_name=${encodeURIComponent(file.name)}`);
    request.setRequestHeader("content-type", "application/octet-stream");
    request.upload.addEventListener("progress", (event) => { bar.value = (100 * event.loaded) / Math.max(event.total, 1); });
    request.addEventListener("load", done);
    request.addEventListener("error", () => tell(upload.dataset.broken));
    sending.querySelector("[data-name]").textContent = file.name;
    bar.value = 0;
    show(true);
    request.send(file);
  };

  upload.querySelector("[data-by-hand]").hidden = true;
  drop.classList.add("whole");  // all of it is the button now
  upload.querySelector("[data-cancel]").addEventListener("click", () => {
    request.abort();
    show(false);
    input.value = "";
    input.focus();
  });
  input.addEventListener("change", () => { if (input.files.length) send(input.files[0]); });
  for (const name of ["dragenter", "dragover"]) {
    upload.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  for (const name of ["dragleave", "drop"]) upload.addEventListener(name, () => drop.classList.remove("over"));
  upload.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
  });
}
