/** Owns log lines: JSON by pino where machines read them, plain notes on the terminal where people do. */
import { pino } from 'pino';
import type { Configuration } from './configuration/index.js';
import type { Terminal } from './terminal/index.js';

export type Log = (level: 'info' | 'warn', message: string) => void;

export function makeLog({ level, format }: Configuration['log'], terminal: Terminal): Log {
  const asJson = format === 'json' || (format === 'auto' && terminal.kind === 'off');
  const logger = pino({ level }, pino.destination(2));
  if (asJson) return (severity, message) => logger[severity](message);
  return (severity, message) => {
    if (logger.isLevelEnabled(severity)) terminal.note(severity === 'warn' ? `warning: ${message}` : message);
  };
}
