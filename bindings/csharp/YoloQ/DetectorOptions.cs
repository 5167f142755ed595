// SPDX-License-Identifier: Apache-2.0
using System;
using System.Threading;

namespace YoloQ
{
    /// <summary>What the engine is tuned for. Numbers of yq_hint.</summary>
    public enum Hint
    {
        /// <summary>Latency for one stream, throughput for more.</summary>
        Default = 0,
        /// <summary>The shortest time for one picture.</summary>
        Latency = 1,
        /// <summary>The most pictures per second over all streams.</summary>
        Throughput = 2
    }

    /// <summary>How to make a detector. null or 0 in a property: what the package says. Read once, by the constructor of
    /// Detector.</summary>
    public sealed class DetectorOptions
    {
        /// <summary>"cpu", "ascend", ...; null: the package's. "dummy" only when named here.</summary>
        public string Backend { get; set; }
        /// <summary>Number of the device, such as "0"; null: "0".</summary>
        public string Device { get; set; }
        /// <summary>An existing, writable folder for compiled models; null: no cache.</summary>
        public string CacheFolder { get; set; }
        /// <summary>Detections below are dropped, in (0, 1].</summary>
        public float ScoreThreshold { get; set; }
        /// <summary>Of two boxes of a class that overlap more, the weaker is dropped, in (0, 1]; unused by models without
        /// NMS.</summary>
        public float IouThreshold { get; set; }
        /// <summary>Per picture, at most 10000.</summary>
        public int MaxDetections { get; set; }
        /// <summary>Calls that run at once, at most 64; further calls wait, first come first served.</summary>
        public int Streams { get; set; }
        /// <summary>A call's deadline, queueing included; Timeout.InfiniteTimeSpan: none; null: the package's.</summary>
        public TimeSpan? Timeout { get; set; }
        /// <summary>What the engine is tuned for.</summary>
        public Hint Hint { get; set; }

        internal uint TimeoutMilliseconds()
        {
            if (Timeout == null) return 0;
            if (Timeout.Value == System.Threading.Timeout.InfiniteTimeSpan) return DetectSettings.NoTimeout;
            double milliseconds = Math.Ceiling(Timeout.Value.TotalMilliseconds);
            if (milliseconds < 1 || milliseconds > int.MaxValue)
                throw new InvalidArgumentException("Timeout is " + Timeout.Value + ": it must be above zero and below 24 "
                    + "days, or Timeout.InfiniteTimeSpan");
            return (uint)milliseconds;
        }
    }

    /// <summary>One call's wishes. 0 in a field: the detector's.</summary>
    public struct DetectSettings
    {
        internal const uint NoTimeout = uint.MaxValue; // YQ_TIMEOUT_NONE

        /// <summary>Detections below are dropped, in (0, 1].</summary>
        public float ScoreThreshold;
        /// <summary>Of two boxes of a class that overlap more, the weaker is dropped, in (0, 1].</summary>
        public float IouThreshold;
        /// <summary>The call's deadline in ms, queueing included; Timeout.Infinite (-1): none.</summary>
        public int TimeoutMilliseconds;
        /// <summary>Keep the best ones only, at most the detector's number. Not for Detect with a buffer, whose length says
        /// it.</summary>
        public int MaxDetections;

        internal uint NativeTimeout()
        {
            if (TimeoutMilliseconds >= 0) return (uint)TimeoutMilliseconds;
            if (TimeoutMilliseconds == Timeout.Infinite) return NoTimeout;
            throw new InvalidArgumentException("TimeoutMilliseconds is " + TimeoutMilliseconds
                + ": it must be 1 or more, 0 for the detector's, or Timeout.Infinite");
        }
    }
}
