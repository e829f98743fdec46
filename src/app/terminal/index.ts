/** The terminal as the composition root sees it. */
export type { ProjectorStatus, StatusFeed } from './feed.js';
export {
  coloursWanted,
  openTerminal,
  type ProgressStep,
  type Terminal,
  type TerminalKind,
  type TerminalOptions,
  terminalKind,
} from './terminal.js';
