// Brings the numbers in: events while they come, polling when the server has no place for one more event stream.
import type { History, Live } from './api';

/** How the page gets its numbers: not yet, four times a second, by polling, or no longer. */
export type Link = 'connecting' | 'live' | 'polling' | 'stale';

const POINTS_MAX = 300;
const STALE_MS = 3_000;
const POLL_MS = 2_000;
const AGAIN_MS = 15_000;
/** A page that nobody has looked at for this long gives its place back. */
const HIDDEN_MS = 30_000;

export class Connection {
  link: Link = 'connecting';
  live: Live | null = null;
  history: History = { time_us: [], input_per_second: [], rejected_per_second: [], lag: [], p50_ms: [], p99_ms: [], queries: {} };
  private source: EventSource | null = null;
  private heard = 0;
  private polling = 0;
  private hiding = 0;

  /** `changed` is called after each change. */
  constructor(private readonly changed: () => void) {
    document.addEventListener('visibilitychange', () => this.visibility());
    setInterval(() => this.watch(), 500);
    this.open();
  }

  private open(): void {
    this.close();
    void this.load();
    this.source = new EventSource('/api/events');
    this.source.onmessage = (event: MessageEvent<string>) => {
      this.stopPolling();
      this.take(JSON.parse(event.data) as Live, 'live');
    };
    this.source.onerror = () => {
      // The browser comes again by itself unless the server refused.
      if (this.source?.readyState !== EventSource.CLOSED) return;
      this.startPolling();
      setTimeout(() => this.polling && !document.hidden && this.open(), AGAIN_MS);
    };
  }

  private close(): void {
    this.source?.close();
    this.source = null;
    this.stopPolling();
  }

  private startPolling(): void {
    if (this.polling) return;
    const poll = async () => {
      try {
        const answer = await fetch('/api/live');
        if (answer.ok) this.take((await answer.json()) as Live, 'polling');
      } catch {
        // `watch` says so once it lasts.
      }
    };
    this.polling = window.setInterval(() => void poll(), POLL_MS);
    void poll();
  }

  private stopPolling(): void {
    clearInterval(this.polling);
    this.polling = 0;
  }

  private async load(): Promise<void> {
    try {
      const answer = await fetch('/api/history');
      if (!answer.ok) return;
      this.history = (await answer.json()) as History;
      this.changed();
    } catch {
      // The charts start empty.
    }
  }

  private take(live: Live, link: Link): void {
    const returned = this.link === 'stale';
    this.live = live;
    this.link = link;
    this.heard = Date.now();
    if (returned) void this.load();
    else this.append(live);
    this.changed();
  }

  /** Adds a point a second, as the server's own history has. */
  private append(live: Live): void {
    const { history } = this;
    const last = history.time_us.at(-1) ?? 0;
    if (live.now_us - last < 1e6 || live.streams.length === 0) return;
    history.time_us.push(live.now_us);
    history.input_per_second.push(live.totals.input_per_second);
    history.rejected_per_second.push(live.totals.rejected_per_second);
    history.lag.push(live.totals.lag);
    history.p50_ms.push(live.latency_ms?.p50 ?? null);
    history.p99_ms.push(live.latency_ms?.p99 ?? null);
    const length = history.time_us.length;
    for (const query of live.queries) {
      const rates = (history.queries[query.name] ??= []);
      while (rates.length < length - 1) rates.push(null);
      rates.push(query.rows_per_second);
    }
    for (const rates of Object.values(history.queries)) if (rates.length < length) rates.push(null);
    if (length <= POINTS_MAX) return;
    for (const column of [history.time_us, history.input_per_second, history.rejected_per_second, history.lag, history.p50_ms, history.p99_ms, ...Object.values(history.queries)]) column.shift();
  }

  private watch(): void {
    if (this.link !== 'stale' && this.heard > 0 && Date.now() - this.heard > STALE_MS + (this.polling ? POLL_MS : 0)) {
      this.link = 'stale';
      this.changed();
    }
  }

  private visibility(): void {
    clearTimeout(this.hiding);
    if (document.hidden) {
      this.hiding = window.setTimeout(() => this.close(), HIDDEN_MS);
    } else if (this.source === null) {
      this.open();
    }
  }
}
