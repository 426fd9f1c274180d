/* Videos follow the clock, and the clock follows the first video while it plays. */
const videos = [...document.querySelectorAll('video')];
const lead = videos[0] || null;
const playButton = document.querySelector('.play');
const slider = document.querySelector('input[type=range]');
const readout = document.querySelector('.bar output');

/* A data: URI cannot be sought everywhere; the same bytes as a blob can. */
for (const video of videos) {
  const source = video.getAttribute('src');
  if (source.startsWith('data:')) {
    const bytes = bytesOf(source.slice(source.indexOf(',') + 1));
    video.src = URL.createObjectURL(new Blob([bytes], { type: 'video/mp4' }));
  }
}

const timeOf = (frame) => (frame + 0.5) / data.fps;
const frameOf = (time) => Math.floor(time * data.fps + 1e-3);
const playing = () => lead !== null && !lead.paused && !lead.ended;

function seek(frame) {
  show(frame);
  for (const video of videos) {
    const end = Number.isFinite(video.duration) ? video.duration - 1e-3 : Infinity;
    video.currentTime = Math.min(end, timeOf(clock.frame));
  }
}

function pause() { for (const video of videos) video.pause(); }

function toggle() {
  if (!lead) return;
  if (playing()) { pause(); return; }
  if (clock.frame >= clock.last) seek(0);
  for (const video of videos) video.play().catch(() => {});
}

function follow() {
  if (playing()) {
    show(frameOf(lead.currentTime));
    for (const video of videos.slice(1)) {
      if (Math.abs(video.currentTime - lead.currentTime) > 0.08 && !video.seeking && !video.ended) {
        video.currentTime = Math.min(lead.currentTime, video.duration || Infinity);
      }
    }
  }
  requestAnimationFrame(follow);
}

if (lead) {
  lead.addEventListener('play', () => { playButton.textContent = 'Pause'; });
  for (const event of ['pause', 'ended']) {
    lead.addEventListener(event, () => { playButton.textContent = 'Play'; });
  }
  for (const video of videos) {
    video.addEventListener('loadedmetadata', () => { video.currentTime = timeOf(clock.frame); }, { once: true });
  }
  requestAnimationFrame(follow);
} else if (playButton) {
  playButton.hidden = true;
}

if (slider) {
  slider.max = clock.last;
  slider.addEventListener('input', () => { pause(); seek(Number(slider.value)); });
  clock.listeners.push((frame) => {
    slider.value = frame;
    const chunk = chunkAt(data.runs[0].starts, frame);
    const second = (frame / data.fps).toFixed(1);
    readout.textContent = `frame ${frame} of ${clock.last + 1} · ${second} s · chunk ${chunk}`;
  });
  playButton.addEventListener('click', toggle);
}

/* Next or previous start of a chunk. */
function stepChunk(by) {
  const starts = data.runs[0].starts;
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
  speed.addEventListener('change', () => { for (const v of videos) v.playbackRate = Number(speed.value); });
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
