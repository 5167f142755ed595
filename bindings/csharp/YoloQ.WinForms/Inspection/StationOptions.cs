// SPDX-License-Identifier: Apache-2.0
using System.Collections.Generic;
using System.Linq;
using YoloQ.WinForms.Model;

namespace YoloQ.WinForms.Inspection
{
    /// <summary>What the worker needs of the settings, as it was at one moment. Immutable, so that threads may share it.</summary>
    public sealed class StationOptions
    {
        public StationOptions(AppSettings settings)
        {
            ScoreThreshold = settings.ScoreThreshold;
            IouThreshold = settings.IouThreshold;
            TimeoutMs = settings.TimeoutMs;
            Rate = settings.Rate;
            Loop = settings.Loop;
            StopOnNg = settings.StopOnNg;
            Backend = settings.Backend.Length == 0 ? null : settings.Backend;
            Device = settings.Device.Length == 0 ? null : settings.Device;
            Triggered = settings.Plc.Enabled && settings.Plc.Triggered;
            Rules = settings.Rules.Select(rule => rule.Copy()).ToList();
        }

        public float ScoreThreshold { get; private set; }
        public float IouThreshold { get; private set; }
        public int TimeoutMs { get; private set; }
        public double Rate { get; private set; }
        public bool Loop { get; private set; }
        public bool StopOnNg { get; private set; }
        public string Backend { get; private set; }
        public string Device { get; private set; }
        /// <summary>A picture is taken when the PLC asks, not at the rate.</summary>
        public bool Triggered { get; private set; }
        public IReadOnlyList<Rule> Rules { get; private set; }

        /// <summary>true if any picture is judged as under the other options.</summary>
        public bool JudgesLike(StationOptions other)
        {
            return ScoreThreshold == other.ScoreThreshold && IouThreshold == other.IouThreshold && SameRules(other);
        }

        public bool SameRules(StationOptions other)
        {
            return Rules.Select(Key).SequenceEqual(other.Rules.Select(Key));
        }

        private static string Key(Rule rule)
        {
            return rule.Enabled + "|" + rule.Comparison + "|" + rule.Count + "|" + rule.MinScore.ToString("R") + "|" + rule.ClassName;
        }
    }

    public enum StationState
    {
        /// <summary>No package is loaded.</summary>
        Empty = 0,
        Loading = 1,
        /// <summary>Loaded, not running.</summary>
        Ready = 2,
        Running = 3
    }

    /// <summary>What the station is doing. Immutable; replaced as a whole.</summary>
    public sealed class StationStatus
    {
        public static readonly IReadOnlyList<string> NoNames = new string[0];

        public StationState State { get; internal set; }
        /// <summary>The last picture could not be inspected.</summary>
        public bool Fault { get; internal set; }
        /// <summary>What is loaded; null if nothing is.</summary>
        public ModelInfo Model { get; internal set; }
        public IReadOnlyList<string> ClassNames { get; internal set; } = NoNames;
        /// <summary>"" if no source is open.</summary>
        public string SourceName { get; internal set; } = "";
        /// <summary>Read once a second; null before.</summary>
        public DetectorStatistics Statistics { get; internal set; }
        /// <summary>Pictures per second over the last second.</summary>
        public float Throughput { get; internal set; }

        internal StationStatus Copy()
        {
            return (StationStatus)MemberwiseClone();
        }
    }
}
