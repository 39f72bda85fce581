// The parts of the page below the tiles.
import type { History, Latency, Live, Peer, Query, Row, Stage, Stream } from './api';
import { Chart } from './chart';
import * as format from './format';

/** The reasons in words; the names are a contract (crates/model/src/verdict.rs). */
const REASONS: Record<string, string> = {
  wire_format: 'no schema id in front',
  unknown_schema: 'schema id not in the registry',
  incompatible_schema: 'schema doesn’t fit the stream’s',
  decode: 'bytes aren’t what the schema says',
  too_large: 'larger than the limit',
  invalid_value: 'a value doesn’t fit its column',
  rule: 'a rule’s condition was not true',
  duplicate: 'same id and content as before',
  id_conflict: 'same id as before, other content',
  late: 'older than the watermark',
  future: 'too far in the future',
};

const ORDER = ['ingest', 'generate', 'load', 'validate', 'process', 'store', 'serve'];
const position = (name: string) => {
  const at = ORDER.findIndex((start) => name.startsWith(start));
  return at < 0 ? ORDER.length : at;
};

export function Tile({ label, value, unit, note, warn }: { label: string; value: string; unit: string; note: string; warn?: boolean }) {
  return (
    <div class={warn ? 'tile warn' : 'tile'}>
      <div class="label">{label}</div>
      <div class="number">
        {value} <small>{unit}</small>
      </div>
      <div class="note">{note}</div>
    </div>
  );
}

export function Tiles({ live }: { live: Live }) {
  const { totals } = live;
  const latency: Latency | null = live.latency_ms;
  const [p50, p50Unit] = format.span(latency?.p50);
  const [p99, p99Unit] = format.span(latency?.p99);
  const [age, ageUnit] = format.span(totals.watermark_age_ms);
  const seen = totals.validated + totals.rejected;
  return (
    <section class="tiles" aria-label="Now">
      <Tile label="Input" value={format.rate(totals.input_per_second)} unit="records/s" note={`${format.count(totals.raw_end)} in the topics`} />
      <Tile label="Latency p50" value={p50} unit={p50Unit} note={latency ? `end to end, last ${live.latency_window_s} s` : 'no results lately'} />
      <Tile label="Latency p99" value={p99} unit={p99Unit} note={latency ? `longest ${format.spanText(latency.max)}` : 'no results lately'} />
      <Tile label="Lag" value={format.count(totals.lag)} unit="records" note={`${format.rate(totals.done_per_second)}/s are worked off`} warn={live.health.level === 'behind'} />
      <Tile label="Watermark age" value={age} unit={ageUnit} note="event time behind the clock" />
      <Tile label="Rejected" value={format.rate(totals.rejected_per_second)} unit="records/s" note={`${format.share(totals.rejected, seen)} of all so far`} />
    </section>
  );
}

export function Charts({ history, theme }: { history: History; theme: string }) {
  const times = history.time_us.map((us) => us / 1e6);
  return (
    <section class="charts">
      <div class="card">
        <Chart
          title="Records a second"
          times={times}
          text={format.rate}
          height={170}
          least={10}
          theme={theme}
          lines={[
            { label: 'input', color: '--one', values: history.input_per_second },
            { label: 'rejected', color: '--two', values: history.rejected_per_second, dashed: true },
          ]}
        />
      </div>
      <div class="card">
        <Chart
          title="End-to-end latency"
          times={times}
          text={format.spanText}
          height={170}
          least={20}
          theme={theme}
          lines={[
            { label: 'p99', color: '--three', values: history.p99_ms },
            { label: 'p50', color: '--one', values: history.p50_ms, dashed: true },
          ]}
        />
      </div>
    </section>
  );
}

export function Verdicts({ stream }: { stream: Stream }) {
  const rejected = Object.entries(stream.rejected)
    .filter(([, count]) => count > 0)
    .sort(([, a], [, b]) => b - a);
  const total = rejected.reduce((sum, [, count]) => sum + count, 0);
  const seen = stream.validated + total;
  const most = rejected[0]?.[1] ?? 1;
  return (
    <div class="card">
      <h3>
        {stream.name} <small>verdicts since start</small>
      </h3>
      <table class="bars">
        <tbody>
          <tr>
            <th scope="row">validated</th>
            <td class="bar">
              <i class="good" style={{ width: `${seen ? (stream.validated / seen) * 100 : 0}%` }} />
            </td>
            <td>{format.count(stream.validated)}</td>
            <td>{format.share(stream.validated, seen)}</td>
          </tr>
          {rejected.map(([reason, count]) => (
            <tr key={reason}>
              <th scope="row" title={REASONS[reason]}>
                {reason}
              </th>
              <td class="bar">
                <i class="bad" style={{ width: `${(count / most) * 100}%` }} />
              </td>
              <td>{format.count(count)}</td>
              <td>{format.share(count, seen)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {rejected.length === 0 && <p class="quiet">Nothing rejected.</p>}
      {rejected.length > 0 && <p class="quiet">Bars of reasons are relative to the most frequent one.</p>}
      {stream.partitions.length > 0 && (
        <details>
          <summary>
            {stream.partitions.length} partitions, watermark {format.utc(stream.watermark_us)}
          </summary>
          <table class="plain">
            <thead>
              <tr>
                <th>partition</th>
                <th>watermark</th>
                <th>age</th>
              </tr>
            </thead>
            <tbody>
              {stream.partitions.map((of) => (
                <tr key={of.partition}>
                  <td>{of.partition}</td>
                  <td>{format.utc(of.watermark_us)}</td>
                  <td>{of.idle ? 'idle' : format.spanText(of.watermark_age_ms)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </details>
      )}
    </div>
  );
}

/** The first column whose values are all numbers: its cells get bars. */
function barColumn(rows: Row[]): number {
  return rows[0]?.columns.findIndex((_, index) => rows.every((row) => format.numeric(row.columns[index]?.[1] ?? '') !== null)) ?? -1;
}

function Results({ rows, nowUs }: { rows: Row[]; nowUs: number }) {
  const barred = barColumn(rows);
  const most = Math.max(1e-9, ...rows.map((row) => format.numeric(row.columns[barred]?.[1] ?? '') ?? 0));
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="newest result rows">
      <table class="results">
        <thead>
          <tr>
            <th />
            {rows[0]?.columns.map(([name]) => (
              <th key={name}>{name}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.label}>
              <th scope="row">{format.rowLabel(row.label, nowUs)}</th>
              {row.columns.map(([name, value], index) => (
                <td key={name} class={format.numeric(value) === null ? '' : 'numeric'}>
                  {/* A new value is a new element, whose animation marks the change. */}
                  <span class="value" key={value}>
                    {format.cell(value)}
                  </span>
                  {index === barred && <i style={{ width: `${(Math.max(0, format.numeric(value) ?? 0) / most) * 100}%` }} />}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function QueryCard({ query, history, theme, nowUs }: { query: Query; history: History; theme: string; nowUs: number }) {
  const facts: [string, string][] = [
    ['rows published', format.count(query.rows_published)],
    ['in PostgreSQL', format.count(query.stored_rows)],
  ];
  // A query without windows or groups has nothing to tell of them.
  if (query.windows_open > 0) facts.push(['windows open', format.count(query.windows_open)]);
  if (query.groups_open > 0) facts.push(['groups open', format.count(query.groups_open)]);
  if (query.batch) {
    facts.push(['Spark, records a second', format.count(query.batch.input_per_second)]);
    facts.push(['Spark, last batch', `${format.count(query.batch.duration_ms)} ms`]);
  }
  if (query.state_bytes > 0) facts.push(['state', format.bytes(query.state_bytes)]);
  if (query.spilled_bytes > 0) facts.push(['state on the disk', format.bytes(query.spilled_bytes)]);
  return (
    <article class="card query">
      <h3>{query.name}</h3>
      <dl>
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <Chart
        title="Result rows a second"
        times={history.time_us.map((us) => us / 1e6)}
        text={format.rate}
        height={96}
        least={5}
        theme={theme}
        lines={[{ label: 'rows', color: '--one', values: history.queries[query.name] ?? [] }]}
      />
      {query.latest.length > 0 ? <Results rows={query.latest} nowUs={nowUs} /> : <p class="quiet">{withoutRows(query)}</p>}
    </article>
  );
}

/** Rows that Apache Spark publishes don't come by here. */
function withoutRows(query: Query): string {
  return query.batch ? "Apache Spark publishes the rows; they don't come by here." : 'No result row yet.';
}

export function Parts({ stages, peers }: { stages: Stage[]; peers: Peer[] }) {
  const ordered = [...stages].sort((a, b) => position(a.name) - position(b.name));
  return (
    <div class="card">
      <h3>Stages and peers</h3>
      <ul class="parts">
        {ordered.map((stage) => (
          <li key={stage.name} class={stage.trouble ? 'down' : 'up'}>
            <b>{stage.name}</b>
            <span>
              {stage.trouble ? `${stage.trouble} (for ${format.spanText(stage.trouble_age_ms)})` : `works, ${format.rate(stage.steps_per_second)} steps/s`}
              {stage.share ? `; ${stage.share}` : ''}
            </span>
          </li>
        ))}
        {peers.map((peer) => (
          <li key={`peer ${peer.name}`} class={peer.ok ? 'up' : 'down'}>
            <b>{peer.name}</b>
            <span>{peer.ok ? peer.detail || 'answers' : `down for ${format.spanText(peer.since_age_ms)}: ${peer.detail}`}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}
