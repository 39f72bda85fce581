// The JSON of /api/live, of each event, and of /api/history: crates/serve/src/{snapshot,history}.rs write it, and a test there
// holds both to the same names. Times are microseconds since 1970 (_us), ages and latencies milliseconds (_ms).

export type Level = 'starting' | 'empty' | 'ok' | 'behind' | 'trouble';

export interface Live {
  pipeline: string;
  version: string;
  now_us: number;
  uptime_ms: number;
  reported_age_ms: number | null;
  health: Health;
  totals: Totals;
  latency_ms: Latency | null;
  latency_window_s: number;
  streams: Stream[];
  queries: Query[];
  stages: Stage[];
  peers: Peer[];
}

export interface Health {
  level: Level;
  sentence: string;
}

export interface Totals {
  input_per_second: number;
  done_per_second: number;
  rejected_per_second: number;
  lag: number;
  raw_end: number;
  validated: number;
  rejected: number;
  watermark_age_ms: number | null;
}

export interface Latency {
  p50: number;
  p95: number;
  p99: number;
  max: number;
  count: number;
}

export interface Stream {
  name: string;
  raw_end: number;
  raw_done: number;
  lag: number;
  validated: number;
  rejected: Record<string, number>;
  input_per_second: number;
  done_per_second: number;
  validated_per_second: number;
  rejected_per_second: number;
  watermark_us: number | null;
  watermark_age_ms: number | null;
  partitions: Partition[];
}

export interface Partition {
  partition: number;
  watermark_us: number | null;
  watermark_age_ms: number | null;
  idle: boolean;
}

export interface Query {
  name: string;
  rows_published: number;
  rows_per_second: number;
  windows_open: number;
  groups_open: number;
  state_bytes: number;
  spilled_bytes: number;
  stored_rows: number;
  latest: Row[];
  batch: Batch | null;
}

/** The last micro-batch of a query on Apache Spark. */
export interface Batch {
  number: number;
  input_per_second: number;
  duration_ms: number;
  watermark_us: number | null;
  state_rows: number;
}

export interface Row {
  label: string;
  columns: [string, string][];
}

export interface Stage {
  name: string;
  steps: number;
  steps_per_second: number;
  trouble: string | null;
  trouble_age_ms: number | null;
  /** What of it is this process's; null for a part that no other process shares. */
  share: string | null;
}

export interface Peer {
  name: string;
  ok: boolean;
  detail: string;
  since_age_ms: number;
}

/** Columns of equal length, a point a second. */
export interface History {
  time_us: number[];
  input_per_second: number[];
  rejected_per_second: number[];
  lag: number[];
  p50_ms: (number | null)[];
  p99_ms: (number | null)[];
  queries: Record<string, (number | null)[]>;
}
