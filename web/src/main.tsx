// The page: one connection, drawn anew with each sample.
import { render } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { Level, Live } from './api';
import { Connection, type Link } from './connection';
import * as format from './format';
import { Charts, Parts, QueryCard, Tiles, Verdicts } from './parts';
import './style.css';

/** A sign besides the colour, for those who don't see it. */
const SIGNS: Record<Level, string> = { starting: '…', empty: '○', ok: '✓', behind: '↓', trouble: '!' };
/** The app reports a few times a second; silence for longer means that it hangs. */
const SILENT_MS = 5_000;

type Choice = 'auto' | 'light' | 'dark';
const stored = (): Choice => {
  try {
    const choice = localStorage.getItem('theme');
    return choice === 'light' || choice === 'dark' ? choice : 'auto';
  } catch {
    return 'auto';
  }
};
const dark = matchMedia('(prefers-color-scheme: dark)');

function useTheme(): [string, Choice, (choice: Choice) => void] {
  const [choice, choose] = useState<Choice>(stored);
  const [system, follow] = useState(dark.matches);
  useEffect(() => {
    const changed = () => follow(dark.matches);
    dark.addEventListener('change', changed);
    return () => dark.removeEventListener('change', changed);
  }, []);
  const theme = choice === 'auto' ? (system ? 'dark' : 'light') : choice;
  // Before the charts ask for their colours.
  document.documentElement.dataset.theme = theme;
  const set = (next: Choice) => {
    try {
      localStorage.setItem('theme', next);
    } catch {
      // It then holds until the page is left.
    }
    choose(next);
  };
  return [theme, choice, set];
}

const NEXT: Record<Choice, Choice> = { auto: 'light', light: 'dark', dark: 'auto' };

function Badge({ link, live }: { link: Link; live: Live | null }) {
  const silent = live?.reported_age_ms != null && live.reported_age_ms > SILENT_MS;
  if (link === 'stale') return <span class="badge stale">stale: no answer from Tillstream</span>;
  if (link === 'connecting') return <span class="badge">connecting …</span>;
  if (silent) return <span class="badge stale">stale: last report {format.spanText(live.reported_age_ms)} ago</span>;
  return <span class="badge live">{link === 'live' ? 'live' : 'every 2 s'}</span>;
}

function Empty({ live }: { live: Live }) {
  const streams = live.streams.map((stream) => stream.name);
  return (
    <section class="card nothing">
      <h2>No records yet</h2>
      <p>
        {streams.length > 0 ? `Waiting for records of ${streams.join(', ')}. ` : ''}
        Produce Avro records to the stream’s raw topic with any Kafka client, send JSON to the HTTP door, load a file, or start with <code>--generate</code>.
      </p>
      <p class="quiet">This page fills by itself as soon as the first record comes in.</p>
    </section>
  );
}

function Page({ connection }: { connection: Connection }) {
  const [theme, choice, choose] = useTheme();
  const { live, link, history } = connection;
  const gone = link === 'stale';
  const level = gone ? 'trouble' : (live?.health.level ?? 'starting');
  const sentence = gone ? 'Tillstream does not answer. The numbers below are the last ones that came.' : (live?.health.sentence ?? 'Connecting …');
  useEffect(() => {
    document.title = `${SIGNS[level]} ${live?.pipeline ?? 'Tillstream'}`;
  }, [level, live?.pipeline]);
  const empty = live !== null && live.totals.raw_end === 0;
  return (
    <div class={gone ? 'page gone' : 'page'}>
      <header>
        <img src="/favicon.svg" alt="" width="28" height="28" />
        <h1>{live?.pipeline ?? 'Tillstream'}</h1>
        <Badge link={link} live={live} />
        <button type="button" class="theme" onClick={() => choose(NEXT[choice])} aria-label={`colours: ${choice}`}>
          {choice === 'auto' ? '◐ auto' : choice === 'light' ? '☀ light' : '☾ dark'}
        </button>
      </header>
      <p class={`health ${level}`} role="status">
        <span class="sign" aria-hidden="true">
          {SIGNS[level]}
        </span>
        {sentence}
      </p>
      {live && (
        <main>
          {empty ? <Empty live={live} /> : <Tiles live={live} />}
          {!empty && <Charts history={history} theme={theme} />}
          {!empty && live.queries.length > 0 && <h2>Queries</h2>}
          {!empty && (
            <section class="queries">
              {live.queries.map((query) => (
                <QueryCard key={query.name} query={query} history={history} theme={theme} nowUs={live.now_us} />
              ))}
            </section>
          )}
          <h2>Pipeline</h2>
          <section class="cards">
            {!empty && live.streams.map((stream) => <Verdicts key={stream.name} stream={stream} />)}
            <Parts stages={live.stages} peers={live.peers} />
          </section>
        </main>
      )}
      <footer>
        {live && (
          <span>
            Tillstream {live.version}, up {format.spanText(live.uptime_ms)}
          </span>
        )}
        <a href="/metrics">metrics</a>
        <a href="/api/live">JSON</a>
        <a href="/readyz">readiness</a>
        <a href="/plain/">plain page</a>
      </footer>
    </div>
  );
}

const connection = new Connection(draw);
function draw(): void {
  render(<Page connection={connection} />, document.body);
}
draw();
