// SPDX-License-Identifier: Apache-2.0
using System;

namespace YoloQ.Modbus
{
    /// <summary>What a handshake goes by.</summary>
    internal sealed class HandshakeRules
    {
        internal WordOrder Order;
        internal bool RequireAcknowledge;
        internal long AcknowledgeMilliseconds;  // 0: for ever
        internal long InspectionMilliseconds;   // 0: for ever
    }

    /// <summary>
    /// The handshake of docs/modbus.md as a machine without threads, sockets or clock: it is told what happened and when, and
    /// writes the registers. Whatever calls it holds the bank's lock. Python's twin is yoloq.serve.handshake; a test runs
    /// both on the same random events and compares every register.
    /// </summary>
    internal sealed class Handshake
    {
        private readonly RegisterBank bank;
        private readonly HandshakeRules rules;
        private readonly ushort[] words;  // what the link writes; copied into the bank after each event
        private int control;
        private LinkState host = LinkState.Idle;
        private int alarmError;
        private int error;
        private bool busy, awaiting, valid, missed;
        private long trigger, busySince, validSince;
        private uint sequence, part;
        private uint inspected, okTotal, ngTotal, errorTotal;

        internal Handshake(RegisterBank bank, HandshakeRules rules)
        {
            this.bank = bank;
            this.rules = rules;
            words = bank.Read(0, ResultMap.Control);
            Show();
        }

        /// <summary>A trigger was accepted: its number and part.</summary>
        internal Action<long, uint> Triggered = delegate { };

        /// <summary>The PLC reset the error.</summary>
        internal Action ErrorReset = delegate { };

        /// <summary>The PLC has written the control registers: bits act when they rise.</summary>
        internal void ControlWritten(long now)
        {
            int value = bank[ResultMap.Control];
            int rising = value & ~control;
            control = value;
            if ((rising & ResultMap.Acknowledge) != 0)
            {
                valid = false;
                awaiting = false;
            }
            if ((rising & ResultMap.ResetCounters) != 0)
            {
                inspected = okTotal = ngTotal = errorTotal = 0;
                words[ResultMap.MissedTriggers] = words[ResultMap.UnreadResults] = 0;
            }
            if ((rising & ResultMap.ResetError) != 0)
            {
                error = 0;
                missed = false;
                ErrorReset();
            }
            if ((rising & ResultMap.Trigger) != 0)
            {
                Trigger(now);
            }
            Show();
        }

        /// <summary>The connection that wrote the control register last has gone: its bits fall.</summary>
        internal void ControlReleased()
        {
            control = 0;
            bank[ResultMap.Control] = 0;
        }

        /// <summary>The host's state has changed; the code is the alarm's.</summary>
        internal void SetState(LinkState state, int code)
        {
            Enter(state, code);
            Show();
        }

        /// <summary>Shows a result. False: it is dropped; it answers a trigger that was given up, or none while one is
        /// answered.</summary>
        internal bool Publish(InspectionResult result, long now)
        {
            if (result.Trigger == InspectionResult.NoTrigger)
            {
                if (busy || awaiting)
                {
                    return false;
                }
            }
            else if (result.Trigger != 0 && !(busy && result.Trigger == trigger))
            {
                words[ResultMap.UnreadResults] = Next(words[ResultMap.UnreadResults]);
                Show();
                return false;
            }
            ResultMap.Encode(result, words, rules.Order);
            if (result.State.HasValue)
            {
                Enter(result.State.Value, result.Error);
            }
            uint number = result.Sequence != 0 ? (uint)result.Sequence : sequence + 1;
            double latency = result.LatencyMilliseconds ?? (busy ? now - busySince : 0);
            words[ResultMap.Latency] = (ushort)Words.Fixed(latency, 10, 0, ushort.MaxValue);
            Finish(number, result.Error, result.Ok, now);
            Show();
            return true;
        }

        /// <summary>Time has passed: gives up what took too long.</summary>
        internal void Tick(long now)
        {
            if (busy && rules.InspectionMilliseconds > 0 && now - busySince >= rules.InspectionMilliseconds)
            {
                var nothing = new InspectionResult { CountsPerClass = new int[words[ResultMap.ClassCount]] };
                ResultMap.Encode(nothing, words, rules.Order);
                words[ResultMap.Latency] = (ushort)Words.Fixed(now - busySince, 10, 0, ushort.MaxValue);
                Finish(sequence + 1, LinkError.NoResult, false, now);
                Show();
            }
            if (awaiting && rules.AcknowledgeMilliseconds > 0 && now - validSince >= rules.AcknowledgeMilliseconds)
            {
                awaiting = valid = false;
                error = LinkError.NotAcknowledged;
                words[ResultMap.UnreadResults] = Next(words[ResultMap.UnreadResults]);
                Show();
            }
        }

        /// <summary>The heartbeat's next beat.</summary>
        internal void Beat()
        {
            words[ResultMap.Heartbeat]++;
            Show();
        }

        private void Enter(LinkState state, int code)
        {
            host = state;
            alarmError = state == LinkState.Alarm ? code : 0;
        }

        private void Trigger(long now)
        {
            if (busy || awaiting || (host != LinkState.Ready && host != LinkState.Running))
            {
                missed = true;
                words[ResultMap.MissedTriggers] = Next(words[ResultMap.MissedTriggers]);
                return;
            }
            busy = true;
            valid = missed = false;
            error = 0;
            words[ResultMap.Verdict] = (ushort)Judgement.None;
            busySince = now;
            part = Words.GetUInt32(bank.Read(ResultMap.PartIn, 2), 0, rules.Order);
            Triggered(++trigger, part);
        }

        private void Finish(uint number, int code, bool ok, long now)
        {
            if (awaiting)  // the host published without a trigger before the last answer was acknowledged
            {
                words[ResultMap.UnreadResults] = Next(words[ResultMap.UnreadResults]);
            }
            Judgement judgement = code != 0 ? Judgement.Error : ok ? Judgement.Ok : Judgement.NotGood;
            inspected++;
            okTotal += judgement == Judgement.Ok ? 1u : 0;
            ngTotal += judgement == Judgement.NotGood ? 1u : 0;
            errorTotal += judgement == Judgement.Error ? 1u : 0;
            words[ResultMap.Verdict] = (ushort)judgement;
            sequence = number;
            Words.PutUInt32(words, ResultMap.Part, busy ? part : 0, rules.Order);
            awaiting = busy && rules.RequireAcknowledge;
            error = code;
            busy = false;
            valid = true;
            validSince = now;
        }

        /// <summary>Everything into the bank, at once.</summary>
        private void Show()
        {
            LinkState state = host == LinkState.Ready && (busy || awaiting) ? LinkState.Running : host;
            bool takes = !busy && !awaiting && (host == LinkState.Ready || host == LinkState.Running);
            int judgement = words[ResultMap.Verdict];
            int shownError = host == LinkState.Alarm ? alarmError : error;
            words[ResultMap.State] = (ushort)state;
            words[ResultMap.Error] = ResultMap.Saturated(shownError);
            words[ResultMap.Status] = (ushort)(
                (takes ? ResultMap.Ready : 0) | (busy ? ResultMap.Busy : 0) | (valid ? ResultMap.Valid : 0)
                | (judgement == (int)Judgement.Ok ? ResultMap.Ok : 0)
                | (judgement >= (int)Judgement.NotGood ? ResultMap.Ng : 0)
                | (shownError != 0 ? ResultMap.Failed : 0) | (host == LinkState.Alarm ? ResultMap.Alarm : 0)
                | (missed ? ResultMap.Missed : 0) | ((words[ResultMap.Heartbeat] & 1) != 0 ? ResultMap.Beat : 0));
            Words.PutUInt32(words, ResultMap.Sequence, sequence, rules.Order);
            Words.PutUInt32(words, ResultMap.SequenceCopy, sequence, rules.Order);
            Words.PutUInt32(words, ResultMap.Inspected, inspected, rules.Order);
            Words.PutUInt32(words, ResultMap.OkTotal, okTotal, rules.Order);
            Words.PutUInt32(words, ResultMap.NgTotal, ngTotal, rules.Order);
            Words.PutUInt32(words, ResultMap.ErrorTotal, errorTotal, rules.Order);
            bank.Write(0, words);
        }

        private static ushort Next(ushort counter)
        {
            return counter == ushort.MaxValue ? counter : (ushort)(counter + 1);
        }
    }
}
