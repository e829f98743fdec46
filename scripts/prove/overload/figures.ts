/**
 * Owns asking a process of the service for what it tells of itself: its own metrics page, on whichever port it listens.
 * Neighbour: `sampling.ts`.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';

export interface OwnFigures {
  /** Of all V8 heaps together: pages held. */
  readonly heapMiB: number;
  readonly externalMiB: number;
  /** Alerts that it stored in the database. */
  readonly stored: number;
}

const MIB = 1_048_576;
const ANSWER_MS = 2_000;
const LISTENING = '0A';

/** Null where nothing answers in time: what is overloaded may be busy. */
export async function figuresOf(port: number): Promise<OwnFigures | null> {
  const page = await fetch(`http://127.0.0.1:${port}/metrics`, { signal: AbortSignal.timeout(ANSWER_MS) })
    .then((answer) => answer.text())
    .catch(() => null);
  if (page === null) return null;
  const lines = page.split('\n').filter((line) => !line.startsWith('#'));
  const sum = (series: RegExp) =>
    lines.reduce((total, line) => total + (series.test(line) ? Number(line.slice(line.lastIndexOf(' '))) : 0), 0);
  const workers = (kind: string) => sum(new RegExp(`^fraud_worker_heap_bytes\\{.*kind="${kind}"`));
  return {
    heapMiB: (sum(/^nodejs_heap_size_total_bytes /) + workers('total')) / MIB,
    externalMiB: (sum(/^nodejs_external_memory_bytes /) + workers('external')) / MIB,
    stored: sum(/^fraud_projector_alerts_stored_total /),
  };
}

/** The port on which a process listens; null where it does not yet. */
export async function listeningPort(pid: number): Promise<number | null> {
  const handles = await readdir(`/proc/${pid}/fd`);
  const links = await Promise.all(
    // One that is closed meanwhile is none.
    handles.map((handle) => readlink(`/proc/${pid}/fd/${handle}`).catch(() => '')),
  );
  const sockets = new Set(links.map((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1]));
  for (const line of (await readFile(`/proc/${pid}/net/tcp`, 'utf8')).split('\n').slice(1)) {
    const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
    if (state === LISTENING && sockets.has(inode)) return Number.parseInt(local.split(':')[1], 16);
  }
  return null;
}
