// Runs the scenarios against the daemon of the environment; the last line is `N passed, N failed`.

import { parseArgs } from "node:util";

import { SCENARIOS, type Scenario, type TransportName, within, World } from "./harness.mjs";
import "./scenarios/sessions.mjs";
import "./scenarios/jobs.mjs";
import "./scenarios/refusals.mjs";
import "./scenarios/idempotency.mjs";
import "./scenarios/listing.mjs";
import "./scenarios/subscribe.mjs";
import "./scenarios/resume.mjs";
import "./scenarios/results.mjs";

const SCENARIO_MS = 30_000;
const SHOWN_REASONS = 3;

/** Runs one scenario; what was wrong, in words. */
async function run(scenario: Scenario, transport: TransportName): Promise<string[]> {
  const world = new World(transport);
  const reasons: string[] = [];
  try {
    await within("the scenario", scenario.body(world), SCENARIO_MS);
  } catch (error) {
    const stack = error instanceof Error ? (error.stack ?? "") : "";
    const place = /scenarios\/(\w+\.mts:\d+)/.exec(stack)?.[1];
    reasons.push(`${error instanceof Error ? error.message : error}${place === undefined ? "" : ` (${place})`}`);
  } finally {
    await world.close();
  }
  return [...reasons, ...world.complaints()];
}

const { values } = parseArgs({
  options: { transport: { type: "string", default: "both" }, filter: { type: "string", default: "" } },
});
const transports: TransportName[] = values.transport === "both" ? ["ws", "stdio"] : [values.transport as TransportName];

let passed = 0;
let failed = 0;
for (const transport of transports) {
  for (const scenario of SCENARIOS) {
    if (!scenario.transports.includes(transport) || !scenario.name.includes(values.filter)) continue;
    const reasons = await run(scenario, transport);
    if (reasons.length === 0) passed += 1;
    else failed += 1;
    const more = reasons.length > SHOWN_REASONS ? `; and ${reasons.length - SHOWN_REASONS} more` : "";
    const said = `${reasons.slice(0, SHOWN_REASONS).join("; ").replaceAll(/\s+/g, " ").slice(0, 600)}${more}`;
    const name = `${transport.padEnd(5)}  ${scenario.name}`;
    console.log(reasons.length === 0 ? `ok   ${name}` : `FAIL ${name}: ${said}`);
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
