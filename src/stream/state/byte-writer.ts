/**
 * Owns a growing byte buffer with little-endian writes, reused from epoch to epoch. Neighbours: the value codec and
 * the delta codec write through it; nobody keeps a view into it beyond the next `clear`.
 */
export class ByteWriter {
  bytes: Buffer;
  view: DataView;
  length = 0;

  constructor(initialBytes = 64 * 1024) {
    this.bytes = Buffer.alloc(initialBytes);
    this.view = viewOf(this.bytes);
  }

  clear(): void {
    this.length = 0;
  }

  /** Makes sure that `more` bytes fit behind `length`. Growth doubles, so its cost is spread over what is written. */
  reserve(more: number): void {
    const need = this.length + more;
    if (need <= this.bytes.length) return;
    const grown = Buffer.alloc(Math.max(need, this.bytes.length * 2));
    this.bytes.copy(grown, 0, 0, this.length);
    this.bytes = grown;
    this.view = viewOf(grown);
  }

  u8(value: number): void {
    this.reserve(1);
    this.view.setUint8(this.length, value);
    this.length += 1;
  }

  u16(value: number): void {
    this.reserve(2);
    this.view.setUint16(this.length, value, true);
    this.length += 2;
  }

  u32(value: number): void {
    this.reserve(4);
    this.view.setUint32(this.length, value, true);
    this.length += 4;
  }

  f64(value: number): void {
    this.reserve(8);
    this.view.setFloat64(this.length, value, true);
    this.length += 8;
  }

  raw(source: Uint8Array): void {
    this.reserve(source.length);
    this.bytes.set(source, this.length);
    this.length += source.length;
  }

  /** UTF-8 text behind its u16 length; at most 65,535 bytes. */
  text(value: string): void {
    const size = Buffer.byteLength(value);
    if (size > 0xffff) throw new RangeError(`a text of ${size} bytes does not fit a 16-bit length`);
    this.u16(size);
    this.reserve(size);
    this.bytes.write(value, this.length, 'utf8');
    this.length += size;
  }

  /** What has been written, as a view. */
  written(): Buffer {
    return this.bytes.subarray(0, this.length);
  }
}

/** Reads what a {@link ByteWriter} wrote. Reading past the end throws a RangeError, which callers turn into their own. */
export class ByteReader {
  readonly view: DataView;
  position = 0;

  constructor(readonly bytes: Buffer) {
    this.view = viewOf(bytes);
  }

  get left(): number {
    return this.bytes.length - this.position;
  }

  u8(): number {
    const value = this.view.getUint8(this.position);
    this.position += 1;
    return value;
  }

  u16(): number {
    const value = this.view.getUint16(this.position, true);
    this.position += 2;
    return value;
  }

  u32(): number {
    const value = this.view.getUint32(this.position, true);
    this.position += 4;
    return value;
  }

  f64(): number {
    const value = this.view.getFloat64(this.position, true);
    this.position += 8;
    return value;
  }

  text(): string {
    const size = this.u16();
    if (size > this.left) throw new RangeError(`a text of ${size} bytes runs past the end`);
    const value = this.bytes.toString('utf8', this.position, this.position + size);
    this.position += size;
    return value;
  }
}

function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
