"use strict";
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const HOLD = 3; // frames that the last picture stays, so that an act is seen to end

for (const scene of document.querySelectorAll(".scene")) {
  const fps = Number(scene.dataset.fps);
  const rows = [...scene.querySelectorAll(".cells")].map((row) => [...row.children]);
  const last = Math.max(...rows.map((row) => row.length)) - 1;
  const screens = ["alone", "led"].map((kind) => ({
    canvas: scene.querySelector(`.screen.${kind} canvas`),
    cells: [...scene.querySelectorAll(`.strip.${kind} .cells img`)],
  }));
  const transport = scene.querySelector(".transport");
  const slider = transport.querySelector("input");
  const output = transport.querySelector("output");
  let now = 0, held = 0, timer = null;

  function show(frame) {
    now = frame;
    for (const { canvas, cells } of screens) {
      const picture = cells[Math.min(frame, cells.length - 1)];
      if (picture.complete) canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    }
    for (const row of rows) row.forEach((cell, place) => cell.classList.toggle("now", place === Math.min(frame, row.length - 1)));
    slider.value = frame;
    output.textContent = `frame ${frame + 1} of ${last + 1}, ${(frame / fps).toFixed(2)} s`;
  }
  function tick() {
    if (now < last) { held = 0; show(now + 1); }
    else if (++held > HOLD) { held = 0; show(0); }
  }
  function play(on) {
    clearInterval(timer);
    timer = on ? setInterval(tick, 1000 / fps) : null;
    scene.classList.toggle("playing", on);
  }
  function stop(frame) { play(false); show(Math.max(0, Math.min(last, frame))); }

  transport.hidden = false;
  transport.querySelector("[data-do=play]").onclick = () => play(timer === null);
  transport.querySelector("[data-do=back]").onclick = () => stop(now - 1);
  transport.querySelector("[data-do=on]").onclick = () => stop(now + 1);
  slider.oninput = () => stop(Number(slider.value));
  for (const row of rows) row.forEach((cell, place) => { cell.onclick = () => stop(place); });
  Promise.all(rows.flat().map((cell) => cell.decode().catch(() => {}))).then(() => { show(0); play(!calm); });
}

for (const video of document.querySelectorAll(".found video")) {
  const start = Number(video.dataset.start), end = Number(video.dataset.end);
  // Only the piece that was found is played: the search finds windows of files, not files.
  video.ontimeupdate = () => { if (video.currentTime < start || (end < video.duration && video.currentTime >= end)) video.currentTime = start; };
  if (calm) { video.removeAttribute("autoplay"); video.controls = true; video.pause(); }
}

for (const button of document.querySelectorAll("[data-do=copy]")) {
  button.hidden = !navigator.clipboard;
  button.onclick = async () => {
    const lines = [...button.parentElement.querySelectorAll("code span")].map((line) => line.textContent);
    await navigator.clipboard.writeText(lines.join("\n") + "\n");
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };
}
