// Keeps pages alive and sends files. No other script runs: see Content-Security-Policy.
"use strict";

// Parts of a page that ask each second whether they have changed.
for (const part of document.querySelectorAll("[data-live]")) {
  const look = async () => {
    try {
      if (document.hidden) return;
      const answer = await fetch(part.dataset.live + "&version=" + encodeURIComponent(part.dataset.version));
      if (answer.status !== 200) return;
      const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
      part.innerHTML = await answer.text();
      part.dataset.version = answer.headers.get("X-Version");
      if (focused && document.getElementById(focused)) document.getElementById(focused).focus();
    } catch {
      // The server is away for a moment: the next look finds it again.
    } finally {
      setTimeout(look, 1000);
    }
  };
  setTimeout(look, 1000);
}

// Pictures that cannot be drawn leave an empty place, not a torn one.
document.addEventListener("error", (event) => {
  if (event.target instanceof HTMLImageElement) event.target.style.visibility = "hidden";
}, true);

const form = document.getElementById("upload");
if (form) {
  const said = document.getElementById("upload-said"), sent = document.getElementById("sent");
  const send = (files) => {
    if (!files.length) return;
    const body = new FormData();
    for (const file of files) body.append("files", file, file.name);
    const request = new XMLHttpRequest();
    request.open("POST", "/pairs");
    request.setRequestHeader("X-CSRF", document.body.dataset.csrf);
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) sent.value = event.loaded / event.total;
    };
    request.onloadend = () => {
      sent.hidden = true;
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* no answer at all */ }
      said.textContent = request.status === 202
        ? `${answer.files.length} ${answer.files.length === 1 ? "file is" : "files are"} in the inbox; the verdicts follow.`
        : answer.error || answer.detail || "The files did not arrive. Try again.";
      if (request.status === 202) form.reset();
    };
    sent.hidden = false;
    sent.value = 0;
    said.textContent = "Sending…";
    request.send(body);
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(document.getElementById("files").files);
  });
  for (const name of ["dragenter", "dragover"]) form.addEventListener(name, (event) => {
    event.preventDefault();
    form.classList.add("over");
  });
  for (const name of ["dragleave", "drop"]) form.addEventListener(name, () => form.classList.remove("over"));
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    send(event.dataTransfer.files);
  });
}

// The link that is printed carries the token behind #, which no server and no log ever sees.
const token = document.getElementById("token");
if (token && location.hash.length > 1) {
  token.value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
  document.getElementById("who").focus();
}
