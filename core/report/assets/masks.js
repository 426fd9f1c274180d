/* Which tokens of the frame on the screen were stored: dropped ones go dark, kept ones get a tint. */
const maskSwitch = document.querySelector('.mask-switch');
if (maskSwitch && data.runs[0].masks) {
  const run = data.runs[0];
  const { frames, rows, cols, step, masks } = run.masks;
  const canvas = document.querySelector('.screen canvas');
  const pen = canvas.getContext('2d');
  canvas.width = cols;
  canvas.height = rows;
  const unpacked = new Map();

  async function unpack(index) {
    if (!unpacked.has(index)) {
      const stream = new Blob([bytesOf(masks[index])]).stream().pipeThrough(new DecompressionStream('deflate'));
      unpacked.set(index, new Uint8Array(await new Response(stream).arrayBuffer()));
    }
    return unpacked.get(index);
  }

  async function draw(frame) {
    const chunk = chunkAt(run.starts, frame);
    if (!maskSwitch.checked || chunk % step) { pen.clearRect(0, 0, cols, rows); return; }
    const mask = await unpack(chunk / step);
    if (frame !== clock.frame || !maskSwitch.checked) return;
    const end = (run.starts[chunk + 1] ?? data.runs[0].frames) - 1;
    const back = Math.floor((end - frame) / run.stride);
    const first = Math.max(0, frames - 1 - back) * rows * cols;
    const image = pen.createImageData(cols, rows);
    for (let token = 0; token < rows * cols; token += 1) {
      const share = mask[first + token] / 255;
      const dark = 0.75 * (1 - share), tint = 0.22 * share;
      image.data.set([255 * tint / (tint + dark || 1), 176 * tint / (tint + dark || 1), 0, 255 * (tint + dark)], 4 * token);
    }
    pen.putImageData(image, 0, 0);
  }
  clock.listeners.push(draw);
  maskSwitch.addEventListener('change', () => draw(clock.frame));
}
