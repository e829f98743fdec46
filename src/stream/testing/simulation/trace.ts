/**
 * Owns what a schedule tells of itself: the last events, for whoever looks into a failure, and a hash over all of them,
 * by which two runs of one seed are known to be the same.
 */

export class Trace {
  private readonly lines: string[] = [];
  private low = 0x811c9dc5 | 0;
  private high = 0x9e3779b9 | 0;
  events = 0;

  constructor(
    private readonly nowMs: () => number,
    /** Newest events that can be looked at in the end. */
    private readonly kept: number,
  ) {}

  note(line: string): void {
    const whole = `${this.nowMs().toFixed(2)} ${line}`;
    if (this.lines.length < this.kept) this.lines.push(whole);
    else this.lines[this.events % this.kept] = whole;
    this.events += 1;
    for (let i = 0; i < whole.length; i++) {
      const code = whole.charCodeAt(i);
      this.low = Math.imul(this.low ^ code, 0x01000193);
      this.high = Math.imul(this.high ^ code, 0x85ebca6b);
      this.high ^= this.high >>> 15;
    }
  }

  /** Over every event so far. */
  get hash(): string {
    const hex = (part: number) => (part >>> 0).toString(16).padStart(8, '0');
    return hex(this.high) + hex(this.low);
  }

  /** The last events, oldest first. */
  last(): readonly string[] {
    const newest = this.events % this.kept;
    return this.events < this.kept ? this.lines : [...this.lines.slice(newest), ...this.lines.slice(0, newest)];
  }
}
