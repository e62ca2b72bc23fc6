"use strict";
// The page of `blear serve`: sends a file or a camera frame with the values of the sliders, and shows the answer.

const at = id => document.getElementById(id);
const view = at("view"), video = at("live"), status = at("status");
let facts = { models: [], controls: [] };
let file = null;      // Blob that is shown
let picture = null;   // ImageBitmap of a picture; null: a video
let answer = null;
let boxes = null;     // faces of the picture, so that they are detected once
let camera = null;    // MediaStream
let request = null;   // AbortController of the running request

function say(text, wrong = false) {
  status.textContent = text;
  status.classList.toggle("wrong", wrong);
}

function element(name, content, attributes = {}) {
  const made = document.createElement(name);
  if (content !== null) made.textContent = content;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function showControls() {
  for (const control of facts.controls) {
    const id = `control-${control.name}`;
    const slider = element("input", null, { id, type: "range", min: control.low, max: control.high, step: control.step, name: control.name });
    slider.value = control.off;
    const shown = element("output", null, { for: id });
    const show = () => {
      const off = Number(slider.value) === control.off;
      shown.textContent = off ? "off" : slider.value;
      slider.setAttribute("aria-valuetext", off ? "off" : slider.value);
    };
    slider.addEventListener("input", () => { show(); if (picture) later(); });
    slider.addEventListener("change", () => { if (!picture) later(); });
    slider.addEventListener("off", show);
    show();
    at("controls").append(element("label", control.label, { for: id }), slider, shown);
  }
}

let timer = 0;
function later() {
  clearTimeout(timer);
  timer = setTimeout(predict, 120);
}

function address() {
  const query = new URLSearchParams({ show: "true" });
  if (at("crop").checked) query.set("faces", "crop");
  else if (boxes && picture && !facts.models.some(model => model.needs_landmarks)) boxes.forEach(box => query.append("box", box));
  for (const control of facts.controls) {
    const value = Number(at(`control-${control.name}`).value);
    if (value !== control.off) query.set(control.name, value);
  }
  return `predict?${query}`;
}

async function predict() {
  if (!file) return;
  request?.abort();
  request = new AbortController();
  const own = request, sent = file;
  if (!camera) say("Predicting");
  try {
    const response = await fetch(address(), { method: "POST", body: sent, signal: own.signal });
    const found = await response.json();
    if (own !== request) return;
    if (!response.ok) {
      answer = null;
      show();
      say(found.error ?? JSON.stringify(found.detail), true);
      return;
    }
    answer = found;
    if (picture && !at("crop").checked) boxes = found.frames[0].faces.map(face => Object.values(face.box).join(","));
    if (boxes && !boxes.length) boxes = null;
    at("frames").hidden = found.kind !== "video";
    at("frame").max = found.frames.length - 1;
    at("frame").value = Math.min(at("frame").value, found.frames.length - 1);
    await show();
    const count = chosen().faces.length;
    say([`${count} face${count === 1 ? "" : "s"}${found.kind === "video" ? ` in this frame, ${found.frames.length} frames` : ""}.`, ...found.notes].join(" "));
  } catch (error) {
    if (error.name !== "AbortError") say(`The server does not answer: ${error.message}`, true);
  }
}

function chosen() {
  return answer.frames[answer.kind === "video" ? Number(at("frame").value) : 0];
}

async function show() {
  at("faces").replaceChildren();
  if (!answer) return;
  const frame = chosen();
  at("time").textContent = `${frame.seconds.toFixed(2)} s`;
  at("frame").setAttribute("aria-valuetext", `${frame.seconds.toFixed(2)} seconds`);
  await draw(frame);
  frame.faces.forEach((face, index) => at("faces").append(...faceRows(face, index)));
  if (!frame.faces.length) at("faces").append(element("p", "No face was found."));
}

async function draw(frame) {
  view.width = frame.width;
  view.height = frame.height;
  const context = view.getContext("2d");
  if (picture) context.drawImage(picture, 0, 0, frame.width, frame.height);
  else if (await seek(frame.seconds)) context.drawImage(video, 0, 0, frame.width, frame.height);
  const line = Math.max(2, frame.width / 300);
  context.lineWidth = line;
  context.font = `${Math.max(14, frame.width / 40)}px system-ui`;
  for (const face of frame.faces) {
    const { left, top, width, height } = face.box;
    context.strokeStyle = "#fff";
    context.strokeRect(left - line, top - line, width + 2 * line, height + 2 * line);
    context.strokeStyle = "#0b5f8a";
    context.strokeRect(left, top, width, height);
    const text = `${face.person}`;
    context.strokeText(text, left, top - 2 * line);
    context.fillStyle = "#fff";
    context.fillText(text, left, top - 2 * line);
  }
  view.hidden = false;
  at("hint").hidden = true;
}

// Moves the video to a time; false: the browser cannot show this file, the boxes stand on an empty picture.
function seek(seconds) {
  return new Promise(resolve => {
    if (!video.videoWidth || video.error) return resolve(false);
    video.addEventListener("seeked", () => resolve(true), { once: true });
    setTimeout(() => resolve(Boolean(video.videoWidth)), 2000);
    video.currentTime = seconds + 0.001;
  });
}

function faceRows(face, index) {
  const rows = [];
  for (const [name, prediction] of Object.entries(face.models)) {
    const row = element("article", null, { class: "face" });
    row.append(element("h3", `Person ${face.person}, ${name}`));
    if (rows.length === 0) {
      const score = face.score === null ? "" : `, detection ${face.score.toFixed(2)}`;
      row.append(element("p", `Face of ${Math.round(face.face_px)} pixels${score}.`, { class: "facts" }));
    }
    row.append(element("img", null, { src: prediction.input, alt: `Input of the model ${name}, person ${face.person}` }));
    const tables = element("div", null);
    for (const [target, found] of Object.entries(prediction.targets)) tables.append(targetTable(target, found));
    row.append(tables);
    rows.push(row);
  }
  return rows;
}

function targetTable(target, found) {
  const table = element("table", null);
  if (found.probabilities === null) {
    table.append(element("caption", `${target}: ${found.value.toFixed(3)}`));
    return table;
  }
  table.append(element("caption", `${target}: ${found.label}`));
  for (const [label, probability] of Object.entries(found.probabilities)) {
    const row = element("tr", null, label === found.label ? { class: "best" } : {});
    const bar = element("td", null, { class: "bar", "aria-hidden": "true" });
    const filled = element("span", null);
    filled.style.width = `${(probability * 100).toFixed(1)}%`;
    bar.append(filled);
    row.append(element("th", label, { scope: "row" }), element("td", `${(probability * 100).toFixed(1)} %`, { class: "number" }), bar);
    table.append(row);
  }
  return table;
}

async function open(blob) {
  stopCamera();
  file = blob;
  answer = boxes = picture = null;
  at("frame").value = 0;
  try {
    picture = blob.type === "image/gif" ? null : await createImageBitmap(blob);
  } catch {
    picture = null;
  }
  if (!picture) {
    URL.revokeObjectURL(video.src);
    video.src = URL.createObjectURL(blob);
    await new Promise(resolve => {
      for (const event of ["loadeddata", "error"]) video.addEventListener(event, resolve, { once: true });
      setTimeout(resolve, 3000);
    });
  }
  await predict();
}

async function startCamera() {
  at("camera").disabled = true;  // a second click would open a second stream
  try {
    camera = await navigator.mediaDevices.getUserMedia({ video: true });
  } catch (error) {
    say(`The camera cannot be used: ${error.message}`, true);
    return;
  } finally {
    at("camera").disabled = false;
  }
  at("camera").setAttribute("aria-pressed", "true");
  at("camera").textContent = "Stop the camera";
  const stream = camera;
  video.srcObject = stream;
  await video.play();
  while (camera === stream) {
    const bitmap = await createImageBitmap(video);
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    const frame = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
    if (camera !== stream) break;  // a file was opened meanwhile
    file = frame;
    picture = bitmap;
    boxes = null;
    await predict();
    await new Promise(resolve => setTimeout(resolve, 50));
  }
}

function stopCamera() {
  if (!camera) return;
  camera.getTracks().forEach(track => track.stop());
  camera = video.srcObject = null;
  at("camera").setAttribute("aria-pressed", "false");
  at("camera").textContent = "Use the camera";
}

at("file").addEventListener("change", event => { if (event.target.files.length) open(event.target.files[0]); });
at("camera").addEventListener("click", () => { if (camera) stopCamera(); else startCamera(); });
at("crop").addEventListener("change", () => { boxes = null; predict(); });
at("frame").addEventListener("input", show);
at("reset").addEventListener("click", () => {
  for (const control of facts.controls) {
    const slider = at(`control-${control.name}`);
    slider.value = control.off;
    slider.dispatchEvent(new Event("off"));
  }
  predict();
});
for (const name of ["dragenter", "dragover"]) document.addEventListener(name, event => { event.preventDefault(); at("stage").classList.add("over"); });
for (const name of ["dragleave", "drop"]) document.addEventListener(name, event => { event.preventDefault(); at("stage").classList.remove("over"); });
document.addEventListener("drop", event => { if (event.dataTransfer.files.length) open(event.dataTransfer.files[0]); });

fetch("models").then(response => response.json()).then(found => { facts = found; showControls(); say("Ready."); document.body.dataset.ready = "true"; });
