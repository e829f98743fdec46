/** Owns what Linux tells of a running process: CPU seconds and the highest memory it ever had. From /proc (proc(5)). */
import { readFileSync } from 'node:fs';

/** Clock ticks a second of /proc: USER_HZ is 100 on Linux. */
const TICKS_PER_SECOND = 100;

/** User and system time so far, in seconds, all threads. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(') ') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Highest resident set so far, in MiB. */
export const peakRssMiB = (pid: number): number => memoryMiB(pid, 'VmHWM');

/** Resident set now, in MiB. */
export const rssMiB = (pid: number): number => memoryMiB(pid, 'VmRSS');

function memoryMiB(pid: number, field: string): number {
  const line = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return line === null ? 0 : Math.round(Number(line[1]) / 1024);
}

/** Load average over a minute, as the noise of shared machines. */
export function loadAverage(): number {
  return Number(readFileSync('/proc/loadavg', 'utf8').split(' ')[0]);
}

/** The value below which `share` of the sorted values lie. */
export function quantile(sorted: readonly number[], share: number): number {
  if (sorted.length === 0) return 0;
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}
