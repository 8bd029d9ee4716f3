/** The lines of a file, read piece by piece in the browser: a large file needs little memory. */

/** A line with more bytes is given to `take` before its end. */
export const MAX_LINE_BYTES = 1 << 20;
const MAX_BUSY_MS = 30;
const DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Give each line to `take`, until it returns true. The page stays responsive meanwhile.
 * @param {ReadableStream<Uint8Array>} stream
 * @param {(bytes: Uint8Array, number: number) => boolean | void} take A line without its end, and its number from 1.
 * @param {{ signal: AbortSignal, onBytes?: (count: number) => void, maxLineBytes?: number }} options
 */
export async function readLines(stream, take, { signal, onBytes, maxLineBytes = MAX_LINE_BYTES }) {
  const reader = stream.getReader();
  let rest = new Uint8Array(0);
  let [number, count, since] = [0, 0, performance.now()];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      signal.throwIfAborted();
      if (done) break;
      count += value.length;
      let chunk = rest.length === 0 ? value : joined(rest, value);
      let end = chunk.indexOf(10, rest.length);
      let start = 0;
      for (; end !== -1; start = end + 1, end = chunk.indexOf(10, start)) {
        if (take(chunk.subarray(start, end), ++number) === true) return;
      }
      rest = chunk.slice(start);
      if (rest.length > maxLineBytes && take(rest, number + 1) === true) return;
      if (performance.now() - since > MAX_BUSY_MS) {
        onBytes?.(count);
        await new Promise((resolve) => setTimeout(resolve));
        since = performance.now();
      }
    }
    if (rest.length > 0) take(rest, ++number);
    onBytes?.(count);
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** @param {Uint8Array} head @param {Uint8Array} tail */
function joined(head, tail) {
  const both = new Uint8Array(head.length + tail.length);
  both.set(head);
  both.set(tail, head.length);
  return both;
}

/** The text of a line, or null where it is not UTF-8. @param {Uint8Array} bytes @param {number} number */
export function textOfLine(bytes, number) {
  try {
    const text = DECODER.decode(bytes);
    return number === 1 ? text.replace(/^\ufeff/, "") : text;
  } catch {
    return null;
  }
}
