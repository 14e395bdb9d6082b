import { withinStep } from "./wait.js";

/**
 * Runs the steps of the journey, prints one line for each and counts them.
 *
 * A step that fails does not stop the ones that can go on without it; a step that everything after it
 * stands on is run with `must`, and ends the journey.
 */
export class Report {
  #passed = 0;
  #failed = 0;

  /** Runs a step; gives back what it returned, or `undefined` when it failed. */
  async check(name, action) {
    try {
      const value = await withinStep(action);
      this.#passed += 1;
      print(`ok - ${name}`);
      return value;
    } catch (error) {
      this.#failed += 1;
      print(`not ok - ${name}: ${describe(error)}`);
      return undefined;
    }
  }

  /** Runs a step that the rest of the journey stands on. */
  async must(name, action) {
    const failedBefore = this.#failed;
    const value = await this.check(name, action);
    if (this.#failed > failedBefore) throw new JourneyEnded(name);
    return value;
  }

  /** Prints the totals and tells whether every step passed. */
  close() {
    print(`${this.#passed} passed, ${this.#failed} failed`);
    return this.#failed === 0;
  }
}

/** Thrown when a step failed that the rest stands on; the step itself is already reported. */
export class JourneyEnded extends Error {
  constructor(step) {
    super(`the journey ended at: ${step}`);
  }
}

/** One line for a step, whatever the console is redirected to. */
function print(line) {
  process.stdout.write(`${line}\n`);
}

function describe(error) {
  const text = error instanceof Error ? error.message : String(error);
  return text.replaceAll(/\s+/g, " ");
}
