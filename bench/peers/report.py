"""What it was measured on, and the figures as tables."""
import os, pathlib, platform, subprocess


def machine():
    field = lambda file, name: next(line.split(":", 1)[1].strip() for line in pathlib.Path(file).read_text().splitlines() if line.startswith(name))
    return {
        "cores": len(os.sched_getaffinity(0)), "cpu": field("/proc/cpuinfo", "model name"), "memory": field("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(), "java": subprocess.run(["java", "-version"], stderr=subprocess.PIPE, text=True).stderr.splitlines()[0],
    }


def version(program):
    return subprocess.run([program, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def table(titles, rows):
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def memory(peak_mb):
    """Megabytes of each process that belongs to an engine."""
    return " + ".join(f"{megabytes:,}" for megabytes in peak_mb.values())


def drained(figures):
    rows = []
    for engine in figures["drains"].values():
        first, *later = engine["runs"]
        best = max(later or [first], key=lambda run: run["payments_per_s"] or 0)
        missing = max(run["payments_missing"] for run in engine["runs"])
        same = all(run["equal_to_first_engine"] for run in engine["runs"])
        rows.append([
            engine["title"], *(f"{run['payments_per_s'] or 0:,.0f}" for run in (first, best)), f"{best['seconds'] or 0:.1f}", f"{best['cpu_s']:.1f}",
            memory(engine["peak_mb"]), f"{best['results_written']:,}", missing, "yes" if same else "NO", f"{engine['load_before'][0]:.1f}",
        ])
    titles = ["engine", "first drain, payments/s", "best of later ones", "seconds", "CPU s", "peak MB", "results written", "payments missing",
              "same sums", "load before"]
    return table(titles, rows)


def latency(figures):
    rows = []
    for engine in figures["live"].values():
        newest, each = engine["newest_input"], engine["each_input"]
        rows.append([
            engine["title"], newest["p50_ms"], newest["p99_ms"], each["p50_ms"], each["p99_ms"], each["max_ms"], f"{engine['cores']:.2f}",
            memory(engine["peak_mb"]), f"{engine['results_written']:,}", engine["lost"], f"{engine['load_before'][0]:.1f}",
        ])
    titles = ["engine", "newest input p50, ms", "p99", "each input p50, ms", "p99", "max", "cores", "peak MB", "results written", "payments missing",
              "load before"]
    return table(titles, rows)


def markdown(figures):
    where, options = figures["machine"], figures["options"]
    text = f"{figures['program']}; {where['cores']} cores of {where['cpu']}, {where['memory']}, Linux {where['kernel']}, {where['java']}\n"
    if figures["drains"]:
        text += f"\n{options['payments']:,} payments drained:\n\n" + drained(figures)
    if figures["live"]:
        text += f"\n{options['rate']:,} payments a second for {options['seconds']} s:\n\n" + latency(figures)
    return text
