/** Owns the errors of the stream core. Each carries a stable code, what happened, where, and what to do. */

/** Root of every error this project raises on purpose. `code` is stable and documented. */
export class StreamError extends Error {
  constructor(
    readonly code: string,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** What was thrown, as one of ours: others get `code`, and `doing` before their message. */
export function asStreamError(thrown: unknown, code: string, doing = ''): StreamError {
  return thrown instanceof StreamError ? thrown : new StreamError(code, doing + messageOf(thrown), { cause: thrown });
}

/** What was thrown while `doing` something, told with it: ours keep their code, others get `code`. */
export function whileDoing(thrown: unknown, code: string, doing: string): StreamError {
  const kept = thrown instanceof StreamError ? thrown.code : code;
  return new StreamError(kept, `${doing}: ${messageOf(thrown)}`, { cause: thrown });
}

function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** Another owner took over this task (its producer is fenced). The task stops at once and drops what it holds (I4). */
export class FencedError extends StreamError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('fenced', message, options);
  }
}

/** Whether the epoch committed is not known (time-out, lost connection). Fence again and read the state log (I3). */
export class CommitDoubtfulError extends StreamError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('commit-doubtful', message, options);
  }
}

/** An offset that was asked for is no longer, or not yet, in the log. The task stops; it never skips (I8). */
export class OffsetOutOfRangeError extends StreamError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('offset-out-of-range', message, options);
  }
}

/** A stored thing does not match its checksum or its declared form. Carries the file or record that is bad. */
export class CorruptDataError extends StreamError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('corrupt-data', message, options);
  }
}
