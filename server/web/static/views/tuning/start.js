/** Starting a job: its files are sent first, then it is created. */

import { post } from "../../api/client.js";
import { useSending } from "../../state/sending.js";

/** @typedef {import("../../api/types.js").Job} Job */

export const useStart = () =>
  useSending(
    "fine-tune",
    async (send, signal, /** @type {object} */ body, /** @type {File} */ training, /** @type {File | null} */ validation) => {
      const training_file = await send(training);
      const validation_file = validation === null ? null : await send(validation);
      return await create({ ...body, training_file, ...(validation_file && { validation_file }) }, signal);
    },
  );

/** @param {object} body @param {AbortSignal} signal @returns {Promise<Job>} */
const create = (body, signal) => post("/v1/fine_tuning/jobs", body, { signal });
