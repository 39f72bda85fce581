// Numbers as people read them.

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

/** What stands for a number that is not known. */
export const UNKNOWN = '–';

/** A count with its thousands apart: 1,234,567. */
export const count = (n: number | null | undefined): string => (n == null ? UNKNOWN : whole.format(n));

/** A count for a narrow place: 1.2M. */
export const compact = (n: number | null | undefined): string => (n == null ? UNKNOWN : short.format(n));

/** A rate: with a decimal while it is small. */
export const rate = (n: number | null | undefined): string =>
  n == null ? UNKNOWN : n > 0 && n < 9.95 ? n.toFixed(1) : whole.format(n);

/** Bytes in binary units. */
export function bytes(n: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024;
    unit += 1;
  }
  return `${unit === 0 || n >= 100 ? n.toFixed(0) : n.toFixed(1)} ${units[unit]}`;
}

/** A time span as a number and its unit. */
export function span(ms: number | null | undefined): [string, string] {
  if (ms == null) return [UNKNOWN, ''];
  const steps: [number, number, string][] = [
    [1e3, 1, 'ms'],
    [120e3, 1e3, 's'],
    [7200e3, 60e3, 'min'],
    [172800e3, 3600e3, 'h'],
    [63072000e3, 86400e3, 'days'],
    [Infinity, 31557600e3, 'years'],
  ];
  const [, size, unit] = steps.find(([below]) => ms < below)!;
  const value = ms / size;
  return [value < 9.95 && size > 1 ? value.toFixed(1) : whole.format(value), unit];
}

/** A time span in one text. */
export const spanText = (ms: number | null | undefined): string => span(ms).join(' ').trim();

/** A share of a whole. */
export function share(part: number, all: number): string {
  if (all === 0) return UNKNOWN;
  const percent = (part / all) * 100;
  if (percent > 0 && percent < 0.01) return '< 0.01%';
  return `${percent >= 10 || percent === 0 ? percent.toFixed(0) : percent.toFixed(2)}%`;
}

/** Local time of day, 24 hours. */
export const clock = (seconds: number): string => new Date(seconds * 1000).toTimeString().slice(0, 8);

/** A point in time in UTC. */
export const utc = (us: number | null): string =>
  us == null ? UNKNOWN : new Date(us / 1000).toISOString().replace('T', ' ').replace(/\.\d+Z$/, ' UTC');

/**
 * A result row's label, which begins with the window's two ends where there is a window: "2026-01-05T09:00:00Z · 2026-01-05T09:01:00Z · EUR" is
 * "09:00–09:01 UTC · EUR" on that day, so that a phone has room for the values.
 */
export function rowLabel(label: string, nowUs: number): string {
  const time = String.raw`(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:\d\d(?:\.\d+)?)Z`;
  const [, startDay, start, startSeconds, endDay, end, endSeconds, rest] = new RegExp(`^${time} · ${time}(.*)$`).exec(label) ?? [];
  if (startDay === undefined) return label;
  const whole = startSeconds === ':00' && endSeconds === ':00';
  const from = whole ? start : `${start}${startSeconds}`;
  const to = whole ? end : `${end}${endSeconds}`;
  const day = startDay === new Date(nowUs / 1000).toISOString().slice(0, 10) ? '' : `${startDay} `;
  return `${day}${from}–${endDay === startDay ? '' : `${endDay} `}${to} UTC${rest}`;
}

/** The number that a cell's text is, if it is one. */
export function numeric(text: string): number | null {
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : null;
}

/** A cell's text: numbers get their thousands apart, and keep every digit after the point (money is exact). */
export function cell(text: string): string {
  const [, sign, digits, rest] = /^(-?)(\d{4,})(\.\d+)?$/.exec(text) ?? [];
  // Ids have leading zeros or many digits; grouping them would mislead.
  if (digits === undefined || digits.startsWith('0') || digits.length > 15) return text;
  return `${sign}${digits.replace(/\B(?=(\d{3})+$)/g, ',')}${rest ?? ''}`;
}
