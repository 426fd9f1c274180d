/* Videos follow the clock, and the clock follows the longest video while it plays. */
const videos = [...document.querySelectorAll('video')];
const playButton = document.querySelector('.play');
const slider = document.querySelector('input[type=range]');
const readout = document.querySelector('.bar output');

/* A data: URI cannot be sought everywhere; the same bytes as a blob can. */
for (const video of videos) {
  video.removeAttribute('controls');  /* the page's own replace them */
  const source = video.getAttribute('src');
  if (source.startsWith('data:')) {
    const bytes = bytesOf(source.slice(source.indexOf(',') + 1));
    video.src = URL.createObjectURL(new Blob([bytes], { type: 'video/mp4' }));
  }
}

/* Runs are compared by the frame: a video of other frames a second runs faster or slower. */
const fpsOf = (video) => data.runs[Number(video.dataset.run)].fps;
const timeOf = (video, frame) => (frame + 0.5) / fpsOf(video);
const frameOf = (video) => Math.floor(video.currentTime * fpsOf(video) + 1e-3);
const lengthOf = (video) => (video.error || !Number.isFinite(video.duration) ? 0 : Math.round(video.duration * fpsOf(video)));
const lead = () => videos.reduce((best, video) => (lengthOf(video) > lengthOf(best) ? video : best), videos[0]);
const playing = () => videos.length > 0 && !lead().paused && !lead().ended;

function place(video) {
  const end = Number.isFinite(video.duration) ? video.duration - 1e-3 : Infinity;
  video.currentTime = Math.min(end, timeOf(video, clock.frame));
}

function seek(frame) {
  show(frame);
  videos.forEach(place);
}

/* Those that have ended before the clock keep their last frame. */
function playRest() {
  for (const video of videos) {
    if (video.paused && clock.frame < lengthOf(video) - 1) video.play().catch(() => {});
  }
}

function pause() { for (const video of videos) video.pause(); }

function toggle() {
  if (!videos.length) return;
  if (playing()) { pause(); return; }
  if (clock.frame >= lengthOf(lead()) - 1) seek(0);
  playRest();
}

function follow() {
  if (playing()) {
    const first = lead();
    if (!first.seeking) show(frameOf(first));
    playRest();
    for (const video of videos) {
      if (video === first || video.paused || video.ended || video.seeking) continue;
      const time = first.currentTime * fpsOf(first) / fpsOf(video);
      if (time < video.duration && Math.abs(video.currentTime - time) > 0.08) video.currentTime = time;
    }
  }
  requestAnimationFrame(follow);
}

/* Browsers refuse rates beyond these; `follow` then keeps the step. */
const SLOWEST = 0.0625, FASTEST = 16;
function setSpeed(times) {
  for (const video of videos) {
    video.playbackRate = Math.min(FASTEST, Math.max(SLOWEST, times * data.fps / fpsOf(video)));
  }
}

if (videos.length) {
  for (const video of videos) {
    for (const event of ['play', 'pause', 'ended']) {
      video.addEventListener(event, () => { playButton.textContent = playing() ? 'Pause' : 'Play'; });
    }
    video.addEventListener('loadedmetadata', () => place(video), { once: true });
  }
  setSpeed(1);
  requestAnimationFrame(follow);
} else if (playButton) {
  playButton.hidden = true;
}

if (slider) {
  slider.max = clock.last;
  slider.addEventListener('input', () => { pause(); seek(Number(slider.value)); });
  clock.listeners.push((frame) => {
    slider.value = frame;
    const second = data.fps ? ` · ${(frame / data.fps).toFixed(1)} s` : '';
    readout.textContent = `frame ${frame} of ${clock.last + 1}${second} · chunk ${chunkAt(starts, frame)}`;
  });
  playButton.addEventListener('click', toggle);
}

/* Next or previous start of a chunk. */
function stepChunk(by) {
  const now = chunkAt(starts, clock.frame);
  const back = by < 0 && starts[now] < clock.frame ? now : now + by;
  pause();
  seek(starts[Math.min(starts.length - 1, Math.max(0, back))]);
}
for (const button of document.querySelectorAll('button[data-step]')) {
  button.addEventListener('click', () => stepChunk(Number(button.dataset.step)));
}
for (const button of document.querySelectorAll('button[data-frame]')) {
  button.addEventListener('click', () => { pause(); seek(Number(button.dataset.frame)); });
}
const speed = document.querySelector('select.speed');
if (speed) {
  speed.addEventListener('change', () => setSpeed(Number(speed.value)));
}

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const at = event.target;
  if (at instanceof HTMLSelectElement || (at instanceof HTMLInputElement && at.type !== 'checkbox')) return;
  const onButton = at instanceof HTMLButtonElement || at.closest?.('summary') || at instanceof HTMLInputElement;
  const by = event.shiftKey ? 10 : 1;
  if (event.key === ' ' && !onButton) toggle();
  else if (event.key === 'ArrowRight') { pause(); seek(clock.frame + by); }
  else if (event.key === 'ArrowLeft') { pause(); seek(clock.frame - by); }
  else if (event.key === 'ArrowUp') stepChunk(1);
  else if (event.key === 'ArrowDown') stepChunk(-1);
  else if (event.key === 'm') document.querySelector('.mask-switch')?.click();
  else return;
  event.preventDefault();
});
