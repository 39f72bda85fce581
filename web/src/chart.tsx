// A chart over time: uPlot with a key that shows the newest values, or those under the cursor.
import { useEffect, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import * as format from './format';

export interface Line {
  label: string;
  /** A custom property with a colour. */
  color: string;
  values: (number | null)[];
  dashed?: boolean;
}

interface Props {
  title: string;
  /** Seconds since 1970. */
  times: number[];
  lines: Line[];
  text: (value: number | null | undefined) => string;
  height: number;
  /** The vertical axis reaches at least this far. */
  least: number;
  /** Changes with the theme, as a canvas has no custom properties. */
  theme: string;
}

/** The colour that a custom property has now. */
function resolve(property: string): string {
  const probe = document.createElement('span');
  probe.style.color = `var(${property})`;
  document.body.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}

function options({ lines, height, text, least }: Props, width: number, hover: (index: number | null) => void): uPlot.Options {
  const axis = { stroke: resolve('--faint'), grid: { stroke: resolve('--line'), width: 1 }, ticks: { show: false }, font: '11px system-ui, sans-serif' };
  return {
    width,
    height,
    legend: { show: false },
    padding: [8, 4, 0, 0],
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
    scales: { y: { range: (_, __, max) => [0, Math.max((max ?? 0) * 1.1, least)] } },
    axes: [
      { ...axis, size: 22, space: 72, values: (_, at) => at.map((seconds) => format.clock(seconds)) },
      { ...axis, size: 48, space: 32, values: (_, at) => at.map((value) => text(value)) },
    ],
    series: [
      {},
      ...lines.map((line, index) => {
        const stroke = resolve(line.color);
        const fill = index === 0 ? stroke.replace('rgb(', 'rgba(').replace(')', ', 0.12)') : undefined;
        return { label: line.label, stroke, width: 2, points: { show: false }, ...(fill ? { fill } : {}), ...(line.dashed ? { dash: [6, 4] } : {}) };
      }),
    ],
    hooks: { setCursor: [(plot) => hover(plot.cursor.idx ?? null)] },
  };
}

export function Chart(props: Props) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [hovered, hover] = useState<number | null>(null);
  const { times, lines, theme, height } = props;
  const data = [times, ...lines.map((line) => line.values)] as uPlot.AlignedData;

  useEffect(() => {
    const element = place.current;
    if (!element) return;
    plot.current = new uPlot(options(props, element.clientWidth || 300, hover), data, element);
    const sizes = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height }));
    sizes.observe(element);
    return () => {
      sizes.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [theme, lines.length, height]);

  useEffect(() => {
    plot.current?.setData(data);
  }, [times[0], times.at(-1), times.length]);

  const at = hovered ?? times.length - 1;
  const values = lines.map((line) => `${line.label} ${props.text(line.values[at])}`).join(', ');
  return (
    <figure class="chart">
      <figcaption>
        <span class="title">{props.title}</span>
        <span class="key">
          {lines.map((line) => (
            <span key={line.label}>
              <i class={line.dashed ? 'dashed' : ''} style={{ borderColor: `var(${line.color})` }} />
              {line.label} <b>{props.text(line.values[at])}</b>
            </span>
          ))}
          {hovered !== null && times[hovered] !== undefined && <span>{format.clock(times[hovered])}</span>}
        </span>
      </figcaption>
      <div class="plot" ref={place} role="img" aria-label={`${props.title}: ${values}`} style={{ height: `${height}px` }} />
    </figure>
  );
}
