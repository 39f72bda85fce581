// @ts-nocheck: Node's own types would be one more dependency.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as format from './format';

test('spans take the unit that reads best', () => {
  const cases = [[0, '0 ms'], [850, '850 ms'], [2100, '2.1 s'], [119_000, '119 s'], [180_000, '3.0 min'], [3 * 3600e3, '3.0 h'], [3 * 86400e3, '3.0 days'], [3 * 31557600e3, '3.0 years'], [null, '–']];
  for (const [ms, text] of cases) assert.equal(format.spanText(ms), text);
});

test('money keeps its digits', () => {
  assert.equal(format.cell('1234567.50'), '1,234,567.50');
  assert.equal(format.cell('-1234.5000'), '-1,234.5000');
  for (const same of ['999.99', '0012345', 'a1234', '1e5', '', '2026-01-01']) assert.equal(format.cell(same), same);
});

test('windows of today need no day', () => {
  const now = Date.UTC(2026, 0, 5, 12) * 1000;
  const cases = [
    ['2026-01-05T09:00:00Z · 2026-01-05T09:01:00Z · EUR · a', '09:00–09:01 UTC · EUR · a'],
    ['2026-01-05T09:00:10Z · 2026-01-05T09:00:20Z', '09:00:10–09:00:20 UTC'],
    ['2026-01-04T23:00:00Z · 2026-01-05T00:00:00Z · x', '2026-01-04 23:00–2026-01-05 00:00 UTC · x'],
    ['2 · 53658', '2 · 53658'],
  ];
  for (const [label, text] of cases) assert.equal(format.rowLabel(label, now), text);
});

test('rates, bytes and shares', () => {
  assert.deepEqual([0, 0.26, 9.96, 3012.4, null].map(format.rate), ['0', '0.3', '10', '3,012', '–']);
  assert.deepEqual([0, 1023, 1536, 1_400_000, 3e12].map(format.bytes), ['0 B', '1023 B', '1.5 KiB', '1.3 MiB', '2.7 TiB']);
  assert.deepEqual([format.share(0, 0), format.share(1, 1e6), format.share(1, 200), format.share(99, 100)], ['–', '< 0.01%', '0.50%', '99%']);
});
