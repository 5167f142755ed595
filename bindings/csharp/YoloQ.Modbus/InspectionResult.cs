// SPDX-License-Identifier: Apache-2.0
using System;

namespace YoloQ.Modbus
{
    /// <summary>What the host is doing; the numbers are those of register `state`.</summary>
    public enum LinkState
    {
        /// <summary>Not started: triggers are refused.</summary>
        Idle = 0,

        /// <summary>Triggers are taken.</summary>
        Ready = 1,

        /// <summary>An inspection runs, or its result waits for the acknowledgement, or the host inspects without triggers.</summary>
        Running = 2,

        /// <summary>The host reports a fault: triggers are refused.</summary>
        Alarm = 3
    }

    /// <summary>The judgement of one inspection; the numbers are those of register `judgement`.</summary>
    public enum Judgement
    {
        /// <summary>None yet.</summary>
        None = 0,

        /// <summary>Good.</summary>
        Ok = 1,

        /// <summary>Not good.</summary>
        NotGood = 2,

        /// <summary>There is no judgement, see register `error`; bit `ng` is set.</summary>
        Error = 3
    }

    /// <summary>The error codes that the link itself uses, and the agreed ones. A host's own begin at 100.</summary>
    public static class LinkError
    {
        /// <summary>No error.</summary>
        public const int None = 0;

        /// <summary>The host gave no result within the inspection timeout.</summary>
        public const int NoResult = 1;

        /// <summary>The PLC did not acknowledge the result within the acknowledge timeout.</summary>
        public const int NotAcknowledged = 2;

        /// <summary>No picture: camera, folder or file.</summary>
        public const int NoPicture = 10;

        /// <summary>The detector failed.</summary>
        public const int Detector = 11;
    }

    /// <summary>The detection with the highest score.</summary>
    public sealed class BestDetection
    {
        /// <summary>Its class, from 0.</summary>
        public int ClassId { get; set; }

        /// <summary>Its score, 0 to 1.</summary>
        public float Score { get; set; }

        /// <summary>The centre's x in pixels of the picture, or in whatever unit the host and the PLC have agreed on.</summary>
        public float X { get; set; }

        /// <summary>The centre's y, in the same unit.</summary>
        public float Y { get; set; }

        /// <summary>The width before rotation, in the same unit.</summary>
        public float Width { get; set; }

        /// <summary>The height before rotation, in the same unit.</summary>
        public float Height { get; set; }

        /// <summary>The angle in degrees, clockwise about the centre; 0 if upright.</summary>
        public float AngleDegrees { get; set; }
    }

    /// <summary>One inspection's result, as the PLC gets it. The link copies it; it may be changed after Publish.</summary>
    public sealed class InspectionResult
    {
        /// <summary>As <see cref="Trigger"/>: this result answers no trigger. While one waits for its answer, or the
        /// answer for its acknowledgement, it is not shown.</summary>
        public const long NoTrigger = -1;

        /// <summary>The number of this result; its lower 32 bits are shown. 0, the default: the link counts by itself.</summary>
        public long Sequence { get; set; }

        /// <summary>The trigger that this answers, from <see cref="TriggeredEventArgs"/>: a result that comes after its
        /// trigger was given up is then dropped instead of answering the next one. 0, the default: the pending trigger,
        /// or none. <see cref="NoTrigger"/>: the host inspected by itself.</summary>
        public long Trigger { get; set; }

        /// <summary>Good, or not.</summary>
        public bool Ok { get; set; }

        /// <summary>Not 0: the inspection failed; the PLC gets judgement 3 and bit NG, whatever Ok says.</summary>
        public int Error { get; set; }

        /// <summary>How many detections there were of each class, by class id; null: none. All add to the total, the
        /// first 64 classes are shown one by one.</summary>
        public int[] CountsPerClass { get; set; }

        /// <summary>The best detection; null if there is none.</summary>
        public BestDetection Best { get; set; }

        /// <summary>From the trigger (or the picture) to the result, in ms; null: the link measures from the trigger.</summary>
        public double? LatencyMilliseconds { get; set; }

        /// <summary>What the host does after this result; null: no change, see <see cref="PlcLink.SetState"/>.</summary>
        public LinkState? State { get; set; }
    }

    /// <summary>The PLC wants an inspection.</summary>
    public sealed class TriggeredEventArgs : EventArgs
    {
        /// <summary>The trigger's number, from 1: hand it back in <see cref="InspectionResult.Trigger"/>.</summary>
        public long Trigger { get; }

        /// <summary>What the PLC had written to register `part_in`; the result's register `part` will say the same.</summary>
        public uint Part { get; }

        internal TriggeredEventArgs(long trigger, uint part)
        {
            Trigger = trigger;
            Part = part;
        }
    }
}
