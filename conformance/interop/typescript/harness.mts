// What a scenario works with: sessions of the unmodified client whose frames are recorded.

import { spawn, type ChildProcess } from "node:child_process";
import { isDeepStrictEqual } from "node:util";

import { ARCPClient, type ARCPClientOptions, type JobHandle } from "@agentruntimecontrolprotocol/client";
import { ARCPError } from "@agentruntimecontrolprotocol/core/errors";
import type { SessionWelcomePayload } from "@agentruntimecontrolprotocol/core/messages";
import { StdioTransport, type Transport, WebSocketTransport } from "@agentruntimecontrolprotocol/core/transport";
import { V1_1_FEATURES } from "@agentruntimecontrolprotocol/core/version";

import { type Carried, carryOver, type Frame, nothingCarried, Recorder, ticksIn, violations, WAIT_MS } from "./wire.mjs";

export const HEARTBEAT_SEC = Number(variable("ARCPD_HEARTBEAT_SEC"));
export const RESUME_SEC = Number(variable("ARCPD_RESUME_SEC"));
/** What the daemon offers of the features that this client knows. */
export const OFFERED = V1_1_FEATURES.filter(
  (f) => !["cost.budget", "model.use", "provisioned_credentials"].includes(f),
).sort();

export type TransportName = "ws" | "stdio";
export type Principal = "alice" | "bob";
type Body = (world: World) => Promise<void>;
export type Scenario = { name: string; body: Body; transports: TransportName[] };

export const SCENARIOS: Scenario[] = [];

/** Registers a function as a scenario, under its own name. */
export function scenario(body: Body, ...transports: TransportName[]): void {
  SCENARIOS.push({ name: body.name, body, transports: transports.length > 0 ? transports : ["ws", "stdio"] });
}

export function variable(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set; start this through conformance/interop/with_daemon.py`);
  return value;
}

/** Awaits with a bound, and says what did not happen. */
export async function within<T>(what: string, promise: Promise<T>, ms = WAIT_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not complete within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

export function equal(actual: unknown, expected: unknown, what: string): void {
  if (isDeepStrictEqual(actual, expected)) return;
  throw new Error(`${what}: expected ${short(expected)}, got ${short(actual)}`);
}

export function check(condition: unknown, complaint: string): asserts condition {
  if (!condition) throw new Error(complaint);
}

function short(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= 240 ? text : `${text.slice(0, 200)}… (${text.length} characters)`;
}

export function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i + 1);
}

/** The call must reject with one of the protocol's errors with one of these codes. */
export async function failsWith(what: string, promise: Promise<unknown>, ...codes: string[]): Promise<ARCPError> {
  let value: unknown;
  try {
    value = await within(what, promise);
  } catch (error) {
    if (!(error instanceof ARCPError)) throw error;
    check(codes.includes(error.code), `${what}: expected ${codes.join(" or ")}, got ${error.code}: ${error.message}`);
    check(error.message !== "", `${what}: error without a message`);
    return error;
  }
  throw new Error(`${what}: expected ${codes.join(" or ")}, got ${short(value)}`);
}

/** The inline result of a job that must succeed. */
export async function resultOf(handle: JobHandle, ms = WAIT_MS): Promise<unknown> {
  return (await within(`job ${handle.agent}`, handle.done, ms)).result;
}

type SubmitMore = {
  key?: string;
  maxRuntimeSec?: number;
  lease?: Record<string, string[]>;
  expiresAt?: string;
  traceId?: string;
};

/** One connection of the client, with what passed over it. */
export class Session {
  welcome!: SessionWelcomePayload;

  constructor(
    readonly client: ARCPClient,
    readonly wire: Recorder,
    readonly link: Link,
    readonly principal: Principal,
    readonly carried: Carried,
    /** The job frames that the client handed to its user. */
    readonly seen: Frame[],
  ) {}

  get id(): string {
    return this.client.state.id!;
  }

  submit(agent: string, input?: unknown, more: SubmitMore = {}): Promise<JobHandle> {
    const options = {
      agent,
      input,
      ...(more.key === undefined ? {} : { idempotencyKey: more.key }),
      ...(more.maxRuntimeSec === undefined ? {} : { maxRuntimeSec: more.maxRuntimeSec }),
      ...(more.lease === undefined ? {} : { lease: more.lease }),
      ...(more.expiresAt === undefined ? {} : { leaseConstraints: { expires_at: more.expiresAt } }),
      ...(more.traceId === undefined ? {} : { traceId: more.traceId as NonNullable<JobHandle["traceId"]> }),
    };
    return within(`submit ${agent}`, this.client.submit(options));
  }

  /** Submits and returns the inline result. */
  async run(agent: string, input?: unknown, more: SubmitMore = {}): Promise<unknown> {
    return resultOf(await this.submit(agent, input, more));
  }

  /** Submits what must be refused; this client's `submit()` itself rejects. */
  refused(code: string, agent: string, input?: unknown, more: SubmitMore = {}): Promise<ARCPError> {
    return failsWith(`submit ${agent}`, this.submit(agent, input, more), code);
  }

  /** The progress events that the client's user sees of a job, once its terminal frame has arrived. */
  async ticks(handle: { jobId: string }): Promise<number[]> {
    await this.wire.waitJobEnd(handle.jobId);
    await this.settle();
    return ticksIn(this.seen.filter((f) => f.job_id === handle.jobId));
  }

  listJobs(...args: Parameters<ARCPClient["listJobs"]>): ReturnType<ARCPClient["listJobs"]> {
    return within("listJobs", this.client.listJobs(...args));
  }

  /** The row of one job in the listing. */
  async row(jobId: string): Promise<Awaited<ReturnType<ARCPClient["listJobs"]>>["jobs"][number]> {
    const page = await this.listJobs(undefined, { limit: 1000 });
    const row = page.jobs.find((r) => r.job_id === jobId);
    check(row !== undefined, `${jobId} is not in the listing`);
    return row;
  }

  subscribe(...args: Parameters<ARCPClient["subscribe"]>): ReturnType<ARCPClient["subscribe"]> {
    return within("subscribe", this.client.subscribe(...args));
  }

  /** A round trip: whatever was sent before has been handled when it returns. */
  async settle(): Promise<void> {
    await this.listJobs(undefined, { limit: 1 });
  }

  lastSeq(): number {
    return Math.max(this.wire.lastSeq(), this.carried.lastSeq);
  }
}

/** The connection below a transport of the client. */
export type Link = { transport: Transport; drop(): void; dispose(): void; process?: ChildProcess };

async function connect(transport: TransportName): Promise<Link> {
  if (transport === "ws") {
    const ws = await WebSocketTransport.connect(variable("ARCPD_URL"));
    // The client keeps its socket to itself; breaking it is the only way to play a failing network.
    const drop = () => (ws as unknown as { socket: { terminate(): void } }).socket.terminate();
    return { transport: ws, drop, dispose: drop };
  }
  const [program, ...args] = JSON.parse(variable("ARCPD_STDIO")) as string[];
  const child = spawn(program!, args, { stdio: ["pipe", "pipe", "ignore"] });
  child.stdin.on("error", () => undefined);
  return {
    transport: StdioTransport.fromChild(child),
    process: child,
    drop: () => child.kill("SIGKILL"),
    dispose: () => {
      child.stdin.end();
      setTimeout(() => child.kill("SIGKILL"), 3000).unref();
    },
  };
}

type OpenOptions = { token?: string; features?: string[]; autoAck?: ARCPClientOptions["autoAck"] };
type ResumeOptions = { principal?: Principal; resumeToken?: string; lastEventSeq?: number };

/** Opens sessions for one scenario, judges their frames and takes everything down again. */
export class World {
  readonly sessions: Session[] = [];
  private readonly warnings: string[] = [];

  constructor(private readonly transport: TransportName) {}

  /** A new session of this principal. */
  async open(principal: Principal = "alice", options: OpenOptions = {}): Promise<Session> {
    const session = await this.prepare(principal, nothingCarried(), options);
    session.welcome = await within("connect", session.client.connect(session.wire));
    return session;
  }

  /** Takes a session up again on a new connection, by default as a well-behaved client would. */
  async resume(before: Session, options: ResumeOptions = {}): Promise<Session> {
    const last_event_seq = options.lastEventSeq ?? before.lastSeq();
    const carried = carryOver(before.wire.received, before.carried, last_event_seq);
    const session = await this.prepare(options.principal ?? before.principal, carried, {});
    const resume_token = options.resumeToken ?? before.welcome.resume_token;
    const resume = { session_id: before.id, resume_token, last_event_seq };
    session.welcome = await within("resume", session.client.resume(session.wire, resume));
    return session;
  }

  /** Breaks the session's connection as a failing network would. */
  async drop(session: Session): Promise<void> {
    session.link.drop();
    await session.wire.waitEnd();
    await within("closing a broken client", session.client.close());
  }

  /** The newest connection, also where its handshake was refused. */
  newest(): Session {
    return this.sessions.at(-1)!;
  }

  /** What was wrong on the wire or for the client, whatever the scenario looked at. */
  complaints(): string[] {
    return [...this.warnings, ...this.sessions.flatMap((s) => violations(s.wire, s.carried))];
  }

  async close(): Promise<void> {
    for (const session of this.sessions) {
      await within("close", session.client.close()).catch(() => undefined);
      session.link.dispose();
    }
  }

  private async prepare(principal: Principal, carried: Carried, options: OpenOptions): Promise<Session> {
    const link = await within("connecting", connect(this.transport));
    const wire = new Recorder(link.transport);
    const client = new ARCPClient({
      client: { name: "interop", version: "1" },
      authScheme: "bearer",
      token: options.token ?? variable(`ARCPD_TOKEN_${principal.toUpperCase()}`),
      logger: this.logger(),
      onSessionBroken: () => this.warnings.push("the client found a gap in event_seq"),
      onHeartbeatLost: () => this.warnings.push("the client lost the heartbeat"),
      ...(options.features === undefined ? {} : { features: options.features }),
      ...(options.autoAck === undefined ? {} : { autoAck: options.autoAck }),
    });
    const seen: Frame[] = [];
    for (const type of ["job.event", "job.result", "job.error", "job.cancelled"]) {
      client.on(type, (frame) => void seen.push(frame as Frame));
    }
    const session = new Session(client, wire, link, principal, carried, seen);
    this.sessions.push(session);
    return session;
  }

  /** Stands in for the client's logger: a frame that it warns about is a frame that it dropped. */
  private logger(): NonNullable<ARCPClientOptions["logger"]> {
    const note = (details: { type?: string }, text: string) =>
      this.warnings.push(`${text}${details.type === undefined ? "" : ` of type ${details.type}`}`);
    const quiet = () => undefined;
    const logger = { trace: quiet, debug: quiet, info: quiet, warn: note, error: note, fatal: note };
    return logger as unknown as NonNullable<ARCPClientOptions["logger"]>;
  }
}
