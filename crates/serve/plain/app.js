// The plain page: asks /api/live once a second and shows its numbers as tables.
const whole = (number) => (number === null ? '–' : Math.round(number).toLocaleString('en'));
const element = (name, ...children) => {
  const made = document.createElement(name);
  made.append(...children);
  return made;
};
const table = (title, head, rows) => {
  if (rows.length === 0) return '';
  const line = (kind, cells) => element('tr', ...cells.map((cell) => element(kind, cell)));
  const body = element('table', line('th', head), ...rows.map((row) => line('td', row)));
  return element('section', element('h2', title), element('div', body));
};

function show(now) {
  const { totals, latency_ms: latency } = now;
  document.title = `${now.pipeline} · Tillstream`;
  document.querySelector('h1').textContent = now.pipeline;
  const health = document.getElementById('health');
  health.textContent = now.health.sentence;
  health.className = now.health.level;
  document.getElementById('numbers').replaceChildren(
    table('Now', ['number', 'value'], [
      ['input, records a second', whole(totals.input_per_second)],
      ['end-to-end latency p50 / p99, ms', latency ? `${whole(latency.p50)} / ${whole(latency.p99)}` : '–'],
      ['lag, records', whole(totals.lag)],
      ['watermark age, s', totals.watermark_age_ms === null ? '–' : (totals.watermark_age_ms / 1000).toFixed(1)],
    ]),
    table('Verdicts', ['stream', 'verdict', 'records'], now.streams.flatMap((stream) => [
      [stream.name, 'validated', whole(stream.validated)],
      ...Object.entries(stream.rejected).map(([reason, count]) => [stream.name, `rejected: ${reason}`, whole(count)]),
    ])),
    table('Queries', ['query', 'rows', 'rows a second', 'windows open', 'in PostgreSQL'], now.queries.map((query) => [
      query.name, whole(query.rows_published), whole(query.rows_per_second), whole(query.windows_open), whole(query.stored_rows),
    ])),
    ...now.queries.map((query) => table(`${query.name}, newest rows`, ['row', ...(query.latest[0]?.columns ?? []).map(([name]) => name)],
      query.latest.map((row) => [row.label, ...row.columns.map(([, value]) => value)]))),
    table('Stages and peers', ['part', 'state'], [
      ...now.peers.map((peer) => [peer.name, `${peer.ok ? 'up' : 'down'}: ${peer.detail}`]),
      ...now.stages.map((stage) => [stage.name, stage.trouble ?? 'works']),
    ]),
  );
}

async function poll() {
  try {
    show(await (await fetch('/api/live')).json());
  } catch {
    const health = document.getElementById('health');
    health.textContent = 'Tillstream does not answer; the numbers below are old.';
    health.className = 'trouble';
  }
  setTimeout(poll, 1000);
}
poll();
