/** Errors of requests, in words that can be shown as they are. */

const UNREACHABLE = "The server cannot be reached. It may be stopped or restarting, or the network is down.";

/** A request that failed. `status` 0: no answer came, or it broke off. `retryAfter` is in seconds. */
export class ApiError extends Error {
  /**
   * @param {{ status: number, code: string, message: string, param?: string | null, retryAfter?: number | null }} error
   */
  constructor({ status, code, message, param = null, retryAfter = null }) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.param = param;
    this.retryAfter = retryAfter;
  }

  /** Whether somebody else changed the same thing first: load it again, then decide. */
  get isStale() {
    return this.status === 412;
  }
}

/**
 * The error of an answer with a status of 400 or above.
 * @param {Response} response
 */
export async function errorOf(response) {
  const seconds = Number(response.headers.get("retry-after"));
  return errorOfBody(await response.text().catch(() => ""), response.status, seconds || null);
}

/**
 * @param {string} text
 * @param {number} status
 * @param {number | null} retryAfter
 */
export function errorOfBody(text, status, retryAfter = null) {
  try {
    /** @type {import("./types.js").ErrorDetail} */
    const { message, code, param } = JSON.parse(text).error;
    return new ApiError({ status, message: String(message), code: String(code), param, retryAfter });
  } catch {
    const message = `The answer has the status ${status} and no error body: a proxy may have sent it.`;
    return new ApiError({ status, message, code: "no_error_body", retryAfter });
  }
}

/** No answer came. @param {string} message */
export function unreachable(message = UNREACHABLE) {
  return new ApiError({ status: 0, code: "unreachable", message });
}

/** Whether the request was ended by us, which is nobody's fault. @param {unknown} error */
export function isAbort(error) {
  return error instanceof DOMException && error.name === "AbortError";
}
