/* Any pair of first visit and revisit, on demand. */
const chooser = document.querySelector('.chosen');
if (chooser && data.runs[0].pairs) {
  const { pairs, pictures } = data.runs[0];
  const select = chooser.querySelector('select');
  const words = ({ earlier, later, psnr }) => `frame ${later} against ${earlier}: ${psnr.toFixed(1)} dB`;
  pairs.forEach((pair, index) => select.append(new Option(words(pair), index)));
  const [first, again, under, over] = chooser.querySelectorAll('img');

  function choose(index) {
    const { earlier, later, psnr } = pairs[index];
    select.value = index;
    [first.src, again.src, under.src, over.src] = [earlier, later, earlier, later].map((f) => pictures[f]);
    first.alt = `First visit, frame ${earlier}`;
    again.alt = `Revisit, frame ${later}`;
    chooser.querySelector('.about').textContent = `${words(pairs[index])}, ${later - earlier} frames apart`;
    for (const dot of document.querySelectorAll('circle[data-pair]')) {
      dot.classList.toggle('picked', Number(dot.dataset.pair) === index);
    }
  }
  select.addEventListener('change', () => choose(Number(select.value)));
  chooser.querySelector('.go-first').addEventListener('click', () => { pause(); seek(pairs[select.value].earlier); });
  chooser.querySelector('.go-again').addEventListener('click', () => { pause(); seek(pairs[select.value].later); });
  for (const dot of document.querySelectorAll('circle[data-pair]')) {
    dot.addEventListener('click', (event) => {
      event.stopPropagation();
      choose(Number(dot.dataset.pair));
      pause();
      seek(pairs[select.value].later);
    });
  }
  choose(0);
}
