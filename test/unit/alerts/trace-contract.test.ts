import { describe, expect, it } from 'vitest';
import { alertTrace, paymentTrace } from '../../../src/fraud/alerts/trace-context.js';
import { CorruptDataError } from '../../../src/stream/errors.js';
import { RecordBatch, type RecordHeader } from '../../../src/stream/records.js';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const PARENT = '00f067aa0ba902b7';
const ALERT = '0af7651916cd43dd8448eb211c80319c';

type Headers = readonly (readonly [name: string, value: string | Buffer])[];

/** A record with these headers in a batch, whatever log it came from. */
function recordWith(headers: Headers): RecordBatch {
  const batch = new RecordBatch(1);
  batch.count = 1;
  batch.parseHeaders = () => headers.map(([name, value]): RecordHeader => [name, Buffer.from(value)]);
  return batch;
}

const traceOf = (...headers: Headers) => paymentTrace(recordWith(headers), 0);

describe("a payment's trace", () => {
  it.each([
    ['sampled', `00-${TRACE}-${PARENT}-01`],
    ['not sampled', `00-${TRACE}-${PARENT}-00`],
    ['of a later version, with more behind it', `cc-${TRACE}-${PARENT}-01-what-the-future-brings`],
    ['of a later version, with nothing behind it', `cc-${TRACE}-${PARENT}-01`],
  ])('is taken over: %s', (_, traceparent) => {
    expect(traceOf(['traceparent', traceparent])).toEqual({ traceparent, tracestate: null });
  });

  it.each([
    ['nothing', ''],
    ['the forbidden version', `ff-${TRACE}-${PARENT}-01`],
    ['version 00 with more behind it', `00-${TRACE}-${PARENT}-01-more`],
    ['a trace id of zeros', `00-${'0'.repeat(32)}-${PARENT}-01`],
    ['a parent of zeros', `00-${TRACE}-${'0'.repeat(16)}-01`],
    ['capitals', `00-${TRACE.toUpperCase()}-${PARENT}-01`],
    ['a short trace id', `00-${TRACE.slice(1)}-${PARENT}-01`],
    ['a line break', `00-${TRACE}-${PARENT}-01\n`],
    ['no flags', `00-${TRACE}-${PARENT}`],
    ['a text without end', `cc-${TRACE}-${PARENT}-01-${'x'.repeat(500)}`],
    ['bytes', Buffer.from([0xff, 0x00])],
  ])('is left out where it is %s', (_, traceparent) => {
    expect(traceOf(['traceparent', traceparent], ['tracestate', 'vendor=1'])).toBeNull();
  });

  it('is left out where there are two, and where there is none', () => {
    const one = ['traceparent', `00-${TRACE}-${PARENT}-01`] as const;
    expect(traceOf(one, one)).toBeNull();
    expect(traceOf(['other', 'x'])).toBeNull();
    expect(traceOf()).toBeNull();
    expect(traceOf(['TraceParent', one[1]])).not.toBeNull();
  });

  it.each([
    ['one member', 'congo=t61rcWkgMzE', 'congo=t61rcWkgMzE'],
    ['several, with blanks', 'rojo=1 , congo=t61 ,, t@vendor=x', 'rojo=1,congo=t61,t@vendor=x'],
    ['a member twice', 'a=1,a=2', null],
    ['no value', 'a', null],
    ['a control character', 'a=\u0007', null],
    ['too long', `a=${'x'.repeat(600)}`, null],
    ['too many', Array.from({ length: 33 }, (_, i) => `k${i}=1`).join(','), null],
  ])('has its state checked: %s', (_, given, kept) => {
    const trace = traceOf(['traceparent', `00-${TRACE}-${PARENT}-01`], ['tracestate', given]);
    expect(trace?.tracestate).toBe(kept);
  });

  it('is refused aloud where the bytes of the headers are damaged', () => {
    const batch = new RecordBatch(1);
    batch.offset[0] = 17;
    batch.parseHeaders = () => null;
    expect(() => paymentTrace(batch, 0)).toThrow(CorruptDataError);
    expect(() => paymentTrace(batch, 0)).toThrow(/offset 17/);
  });
});

describe("an alert's trace", () => {
  it("goes on with the payment's, as a span of its own that follows from the alert's id", () => {
    const payment = { traceparent: `00-${TRACE}-${PARENT}-01`, tracestate: 'congo=1' };
    const trace = alertTrace(ALERT, payment);
    const [version, traceId, spanId, flags] = trace.traceparent.split('-');
    expect([version, traceId, flags]).toEqual(['00', TRACE, '01']);
    expect(spanId).toMatch(/^[0-9a-f]{16}$/);
    expect(spanId).not.toBe(PARENT);
    expect(trace.tracestate).toBe('congo=1');
    expect(alertTrace(ALERT, payment)).toEqual(trace);
    expect(alertTrace(ALERT.replace('0', '1'), payment).traceparent).not.toBe(trace.traceparent);
  });

  it('keeps of the flags the one that is defined, and writes version 00', () => {
    const flags = (traceparent: string) => alertTrace(ALERT, { traceparent, tracestate: null }).traceparent.slice(-3);
    expect(flags(`cc-${TRACE}-${PARENT}-ff-more`)).toBe('-01');
    expect(flags(`00-${TRACE}-${PARENT}-fe`)).toBe('-00');
  });

  it('begins with the alert where the payment has none: the trace id is its id', () => {
    const trace = alertTrace(ALERT, null);
    expect(trace.traceparent).toMatch(new RegExp(`^00-${ALERT}-[0-9a-f]{16}-00$`));
    expect(trace.tracestate).toBeNull();
  });
});
