// SPDX-License-Identifier: Apache-2.0
using YoloQ.Native;

namespace YoloQ
{
    /// <summary>One stage's times since the detector was made, in ms; percentiles are within 4 %. 0 before the first
    /// call.</summary>
    public struct StageStatistics
    {
        internal StageStatistics(yq_stage_stats stats) : this()
        {
            MeanMs = stats.mean_ms;
            P50Ms = stats.p50_ms;
            P99Ms = stats.p99_ms;
            MaxMs = stats.max_ms;
        }

        /// <summary>The mean.</summary>
        public float MeanMs { get; private set; }
        /// <summary>The median.</summary>
        public float P50Ms { get; private set; }
        /// <summary>99 % of the calls were faster.</summary>
        public float P99Ms { get; private set; }
        /// <summary>The longest.</summary>
        public float MaxMs { get; private set; }
    }

    /// <summary>Counters, times and device health of a detector since it was made; a snapshot. What the device does not tell
    /// is null, never an estimate.</summary>
    public sealed class DetectorStatistics
    {
        internal DetectorStatistics(yq_stats stats)
        {
            Streams = (int)stats.streams;
            StreamsBusy = (int)stats.streams_busy;
            StreamsQuarantined = (int)stats.streams_quarantined;
            Pictures = (long)stats.pictures;
            Errors = (long)stats.errors;
            Timeouts = (long)stats.timeouts;
            DeviceLost = (long)stats.device_lost;
            DeviceRecovered = (long)stats.device_recovered;
            Detections = (long)stats.detections;
            Total = new StageStatistics(stats.total);
            Queue = new StageStatistics(stats.queue);
            Preprocess = new StageStatistics(stats.preprocess);
            Engine = new StageStatistics(stats.engine);
            Decode = new StageStatistics(stats.decode);
            TemperatureC = Known(stats.device_temperature_c);
            PowerW = Known(stats.device_power_w);
            UtilizationPercent = Known(stats.device_utilization_percent);
            MemoryUsedBytes = Known(stats.device_memory_used);
            MemoryTotalBytes = Known(stats.device_memory_total);
        }

        /// <summary>Calls that can run at once.</summary>
        public int Streams { get; private set; }
        /// <summary>Calls that run now.</summary>
        public int StreamsBusy { get; private set; }
        /// <summary>Streams held by a request that outlived its call's deadline.</summary>
        public int StreamsQuarantined { get; private set; }
        /// <summary>Pictures that succeeded.</summary>
        public long Pictures { get; private set; }
        /// <summary>Pictures that failed, timeouts included.</summary>
        public long Errors { get; private set; }
        /// <summary>Pictures whose deadline passed.</summary>
        public long Timeouts { get; private set; }
        /// <summary>Times the device was lost.</summary>
        public long DeviceLost { get; private set; }
        /// <summary>Times it came back.</summary>
        public long DeviceRecovered { get; private set; }
        /// <summary>Objects found in all.</summary>
        public long Detections { get; private set; }
        /// <summary>Whole calls.</summary>
        public StageStatistics Total { get; private set; }
        /// <summary>Waiting for a free stream.</summary>
        public StageStatistics Queue { get; private set; }
        /// <summary>Scaling the picture to the model's input.</summary>
        public StageStatistics Preprocess { get; private set; }
        /// <summary>The device's work.</summary>
        public StageStatistics Engine { get; private set; }
        /// <summary>Decoding and suppressing doubles.</summary>
        public StageStatistics Decode { get; private set; }
        /// <summary>The device's temperature in degrees Celsius; null: not known.</summary>
        public float? TemperatureC { get; private set; }
        /// <summary>The device's power in watts; null: not known.</summary>
        public float? PowerW { get; private set; }
        /// <summary>The device's load, 0 to 100; null: not known.</summary>
        public float? UtilizationPercent { get; private set; }
        /// <summary>The device's memory in use, in bytes; null: not known.</summary>
        public long? MemoryUsedBytes { get; private set; }
        /// <summary>The device's memory, in bytes; null: not known.</summary>
        public long? MemoryTotalBytes { get; private set; }

        private static float? Known(float value)
        {
            return float.IsNaN(value) ? (float?)null : value;
        }

        private static long? Known(ulong value)
        {
            return value == ulong.MaxValue ? (long?)null : (long)value;
        }
    }
}
