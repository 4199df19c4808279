// What passed over one connection, and the rules that hold for it whatever the scenario.

import type { SendableFrame, Transport, WireFrame } from "@agentruntimecontrolprotocol/core/transport";

export const WAIT_MS = 8000;

export type Frame = {
  arcp: string;
  id: string;
  type: string;
  session_id?: string;
  job_id?: string;
  trace_id?: string;
  event_seq?: number;
  payload: any;
};

/** A transport of the client that remembers every frame; scenarios read them and wait for those they need. */
export class Recorder implements Transport {
  readonly sent: Frame[] = [];
  readonly received: Frame[] = [];
  private ended = false;
  private waiting: (() => void)[] = [];

  constructor(private readonly inner: Transport) {}

  get closed(): boolean {
    return this.inner.closed;
  }

  send(frame: SendableFrame): Promise<void> {
    this.sent.push(JSON.parse(JSON.stringify(frame)));
    return this.inner.send(frame);
  }

  onFrame(handler: (frame: WireFrame) => Promise<void> | void): void {
    this.inner.onFrame((frame) => {
      this.received.push(frame as Frame);
      this.wake();
      return handler(frame);
    });
  }

  onClose(handler: (err?: Error) => void): void {
    this.inner.onClose((error) => {
      this.ended = true;
      this.wake();
      handler(error);
    });
  }

  close(reason?: string): Promise<void> {
    return this.inner.close(reason);
  }

  /** The first `count` received frames that match, waiting for those still to come. */
  async waitFor(what: string, matches: (f: Frame) => boolean, count = 1, ms = WAIT_MS): Promise<Frame[]> {
    const deadline = Date.now() + ms;
    for (;;) {
      const found = this.received.filter(matches);
      if (found.length >= count) return found.slice(0, count);
      const so_far = `${found.length} of ${count} ${what}`;
      if (this.ended) throw new Error(`connection ended after ${so_far}`);
      if (!(await this.changed(deadline - Date.now()))) throw new Error(`${so_far} within ${ms} ms`);
    }
  }

  /** Waits until the runtime has closed the connection. */
  async waitEnd(): Promise<void> {
    const deadline = Date.now() + WAIT_MS;
    while (!this.ended) {
      if (!(await this.changed(deadline - Date.now()))) throw new Error("the connection was not closed");
    }
  }

  waitTicks(jobId: string, count: number): Promise<Frame[]> {
    return this.waitFor("progress events", (f) => jobOf(f) === jobId && isProgress(f), count);
  }

  /** The terminal frame of the job. */
  async waitJobEnd(jobId: string): Promise<Frame> {
    const frames = await this.waitFor("terminal frames", (f) => jobOf(f) === jobId && isTerminal(f));
    return frames[0]!;
  }

  ofJob(jobId: string): Frame[] {
    return this.received.filter((f) => jobOf(f) === jobId);
  }

  ofType(type: string): Frame[] {
    return this.received.filter((f) => f.type === type);
  }

  /** The job's events and its terminal frame. */
  stream(jobId: string): Frame[] {
    return this.ofJob(jobId).filter((f) => f.type === "job.event" || isTerminal(f));
  }

  ticks(jobId: string): number[] {
    return ticksIn(this.ofJob(jobId));
  }

  lastSeq(): number {
    return Math.max(0, ...this.received.map((f) => f.event_seq ?? 0));
  }

  private wake(): void {
    for (const resume of this.waiting.splice(0)) resume();
  }

  /** Resolves with true at the next change, with false when `ms` are over. */
  private changed(ms: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), Math.max(0, ms));
      this.waiting.push(() => {
        clearTimeout(timer);
        resolve(true);
      });
    });
  }
}

export function jobOf(frame: Frame): string | undefined {
  return frame.type.startsWith("job.") ? (frame.job_id ?? frame.payload?.job_id) : undefined;
}

export function isTerminal(frame: Frame): boolean {
  return frame.type === "job.result" || frame.type === "job.error";
}

export function isProgress(frame: Frame): boolean {
  return frame.type === "job.event" && frame.payload.kind === "progress";
}

export function ticksIn(frames: Frame[]): number[] {
  return frames.filter(isProgress).map((f) => f.payload.body.current);
}

/** What two sessions that see the same job must agree on. */
export function essence(frame: Frame): unknown[] {
  const p = frame.payload;
  if (frame.type === "job.event") return [frame.type, p.kind, p.ts, p.body];
  return [frame.type, p.final_status, p.code, p.result];
}

/** What a resumed connection inherits from the connections before it. */
export type Carried = { lastSeq: number; open: Set<string>; ended: Set<string> };

export function nothingCarried(): Carried {
  return { lastSeq: 0, open: new Set(), ended: new Set() };
}

/** The state of the session as a client knows it that has processed everything up to `lastSeq`. */
export function carryOver(frames: Frame[], before: Carried, lastSeq: number): Carried {
  const seen = new Set([...before.open, ...before.ended]);
  const ended = new Set(before.ended);
  for (const frame of frames) {
    const job = jobOf(frame);
    if (job === undefined) continue;
    seen.add(job);
    if (opens(frame)) ended.delete(job);
    else if (isTerminal(frame) && (frame.event_seq ?? 0) <= lastSeq) ended.add(job);
  }
  return { lastSeq, ended, open: new Set([...seen].filter((job) => !ended.has(job))) };
}

/** Everything in one connection's frames that breaks the protocol, in words. */
export function violations(wire: Recorder, carried: Carried): string[] {
  return [
    ...envelopes(wire.received),
    ...numbering(wire.received, carried),
    ...jobs(wire.received, carried),
    ...answers(wire),
  ];
}

function opens(frame: Frame): boolean {
  return frame.type === "job.accepted" || frame.type === "job.subscribed";
}

/** A refused submit: a `job.error` outside the numbering, for a job that there never was. */
function isRefusal(frame: Frame): boolean {
  return frame.type === "job.error" && frame.event_seq === undefined;
}

function envelopes(frames: Frame[]): string[] {
  const session = frames[0]?.session_id;
  return frames.flatMap((f) => [
    ...(f.arcp === "1.1" ? [] : [`${f.type}: arcp is ${f.arcp}`]),
    ...(f.id ? [] : [`${f.type}: no id`]),
    ...(f.session_id && f.session_id === session ? [] : [`${f.type}: session_id ${f.session_id} in ${session}`]),
  ]);
}

function numbering(frames: Frame[], carried: Carried): string[] {
  const found: string[] = [];
  let expected = carried.lastSeq + 1;
  for (const frame of frames) {
    const numbered = (frame.type === "job.event" || isTerminal(frame)) && !isRefusal(frame);
    if (!numbered && frame.event_seq !== undefined) found.push(`${frame.type}: carries an event_seq`);
    if (!numbered) continue;
    if (frame.event_seq !== expected) found.push(`${frame.type}: event_seq ${frame.event_seq}, ${expected} was due`);
    expected = (frame.event_seq ?? expected) + 1;
  }
  return found;
}

function jobs(frames: Frame[], carried: Carried): string[] {
  const found: string[] = [];
  const open = new Set(carried.open);
  const ended = new Set(carried.ended);
  for (const frame of frames) {
    const job = jobOf(frame);
    if (job === undefined) {
      if (frame.type.startsWith("job.")) found.push(`${frame.type}: no job_id`);
    } else if (opens(frame)) {
      open.add(job);
      ended.delete(job);
    } else if (isRefusal(frame)) {
      if (open.has(job) || ended.has(job)) found.push(`a refusal for the known job ${job}`);
    } else {
      if (ended.has(job)) found.push(`${frame.type} of ${job} after its terminal frame`);
      else if (!open.has(job)) found.push(`${frame.type} of ${job} before its job.accepted`);
      if (isTerminal(frame)) {
        open.delete(job);
        ended.add(job);
      }
    }
  }
  return found;
}

/** Never more answers than submits; the client takes them in order. */
function answers(wire: Recorder): string[] {
  const submits = wire.sent.filter((f) => f.type === "job.submit").length;
  const given = wire.received.filter((f) => f.type === "job.accepted" || isRefusal(f)).length;
  return given > submits ? [`${given} answers to ${submits} submits`] : [];
}
