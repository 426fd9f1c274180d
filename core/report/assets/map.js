/* The camera on the map, the way so far, and the views that the current chunk recalls. */
for (const map of document.querySelectorAll('svg.map')) {
  const run = data.runs[Number(map.dataset.map)];
  const { points, floor, fov } = run.path;
  const [middleX, middleZ, scale, side] = floor;
  const at = (x, z) => [side / 2 + (x - middleX) * scale, side / 2 - (z - middleZ) * scale];
  const camera = map.querySelector('.camera');
  const wedge = camera.querySelector('.wedge');
  const eye = camera.querySelector('.eye');
  const travelled = map.querySelector('.travelled');
  const recalled = map.querySelector('.recalled');
  camera.setAttribute('visibility', 'visible');

  function pose(frame) {
    let low = 0, high = points.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (points[middle][0] <= frame) low = middle; else high = middle - 1;
    }
    const a = points[low], b = points[Math.min(low + 1, points.length - 1)];
    const share = b[0] > a[0] ? Math.min(1, Math.max(0, (frame - a[0]) / (b[0] - a[0]))) : 0;
    const mix = (i) => a[i] + (b[i] - a[i]) * share;
    return { index: low, x: mix(1), z: mix(3), yaw: mix(4) };
  }

  function cone({ x, z, yaw }, length) {
    const [px, py] = at(x, z);
    const ray = (degrees) => {
      const angle = degrees * Math.PI / 180;
      return `${(px + length * Math.sin(angle)).toFixed(1)} ${(py - length * Math.cos(angle)).toFixed(1)}`;
    };
    return `M${px.toFixed(1)} ${py.toFixed(1)}L${ray(yaw - fov / 2)}A${length} ${length} 0 0 1 ${ray(yaw + fov / 2)}Z`;
  }

  let shownChunk = -1;
  clock.listeners.push((frame) => {
    const here = pose(frame);
    const [px, py] = at(here.x, here.z);
    wedge.setAttribute('d', cone(here, 78));
    eye.setAttribute('cx', px);
    eye.setAttribute('cy', py);
    const way = points.slice(0, here.index + 1).map((p) => at(p[1], p[3]).map((v) => v.toFixed(1)).join(' '));
    travelled.setAttribute('d', `M${[...way, `${px.toFixed(1)} ${py.toFixed(1)}`].join('L')}`);
    const chunk = chunkAt(run.starts, frame);
    if (chunk === shownChunk) return;
    shownChunk = chunk;
    recalled.replaceChildren();
    for (const [past] of run.recalls[chunk]) {
      const middle = (run.starts[past] + (run.starts[past + 1] ?? run.starts[past] + 1) - 1) / 2;
      recalled.append(svgElement('path', { d: cone(pose(middle), 52) }));
    }
  });
}
