// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.IO;
using System.Runtime.Serialization;

namespace YoloQ.WinForms.Model
{
    /// <summary>Everything the program remembers between two starts. Plain data; one thread at a time.</summary>
    [DataContract]
    public sealed class AppSettings
    {
        public const float MinThreshold = 0.01f;
        public const float MaxThreshold = 0.99f;
        public const double MinRate = 0.2;
        public const double MaxRate = 500;

        [DataMember(Order = 0)] public string Language { get; set; }
        [DataMember(Order = 1)] public bool DarkTheme { get; set; }
        /// <summary>Size of texts and controls, in percent of the screen's own setting.</summary>
        [DataMember(Order = 2)] public int ScalePercent { get; set; }
        [DataMember(Order = 3)] public WindowSettings Window { get; set; }

        [DataMember(Order = 10)] public string PackagePath { get; set; }
        [DataMember(Order = 11)] public string SourcePath { get; set; }
        [DataMember(Order = 12)] public bool Loop { get; set; }
        /// <summary>Pictures per second when running freely.</summary>
        [DataMember(Order = 13)] public double Rate { get; set; }
        [DataMember(Order = 14)] public float ScoreThreshold { get; set; }
        [DataMember(Order = 15)] public float IouThreshold { get; set; }
        /// <summary>A backend's name; "" means the package's own.</summary>
        [DataMember(Order = 16)] public string Backend { get; set; }
        /// <summary>The device's number, as text; "" means the first.</summary>
        [DataMember(Order = 17)] public string Device { get; set; }
        /// <summary>Deadline of one picture, in milliseconds.</summary>
        [DataMember(Order = 18)] public int TimeoutMs { get; set; }

        [DataMember(Order = 30)] public List<Rule> Rules { get; set; }
        [DataMember(Order = 31)] public bool LatchAlarm { get; set; }
        [DataMember(Order = 32)] public bool StopOnNg { get; set; }

        [DataMember(Order = 40)] public bool SaveNg { get; set; }
        [DataMember(Order = 41)] public string NgFolder { get; set; }
        /// <summary>"png" (exact) or "jpg" (small).</summary>
        [DataMember(Order = 42)] public string NgFormat { get; set; }
        /// <summary>Above this many megabytes the oldest saved pictures are removed.</summary>
        [DataMember(Order = 43)] public int NgLimitMegabytes { get; set; }

        [DataMember(Order = 50)] public PlcSettings Plc { get; set; }

        public AppSettings()
        {
            SetDefaults();
        }

        [OnDeserializing]
        private void BeforeReading(StreamingContext context)
        {
            SetDefaults(); // a serializer calls no constructor, and an older file lacks newer fields
        }

        private void SetDefaults()
        {
            Language = "auto";
            DarkTheme = true;
            ScalePercent = 100;
            Window = new WindowSettings();
            PackagePath = "";
            SourcePath = "";
            Loop = true;
            Rate = 10;
            ScoreThreshold = 0.25f;
            IouThreshold = 0.7f;
            Backend = "";
            Device = "";
            TimeoutMs = 5000;
            Rules = new List<Rule>();
            LatchAlarm = true;
            SaveNg = true;
            NgFolder = Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.MyDocuments), "YoloQ NG");
            NgFormat = "png";
            NgLimitMegabytes = 1024;
            Plc = new PlcSettings();
        }

        /// <summary>Brings every value into its range; a file written by hand may hold anything.</summary>
        public void Normalize()
        {
            var defaults = new AppSettings();
            Language = Language == "en" || Language == "zh" ? Language : "auto";
            ScalePercent = Clamp(ScalePercent, 75, 250);
            Window = Window ?? defaults.Window;
            PackagePath = PackagePath ?? "";
            SourcePath = SourcePath ?? "";
            Rate = Rate >= MinRate && Rate <= MaxRate ? Rate : defaults.Rate;
            ScoreThreshold = Threshold(ScoreThreshold, defaults.ScoreThreshold);
            IouThreshold = Threshold(IouThreshold, defaults.IouThreshold);
            Backend = Backend ?? "";
            Device = Device ?? "";
            TimeoutMs = Clamp(TimeoutMs, 10, 600000);
            Rules = Rules ?? defaults.Rules;
            Rules.RemoveAll(rule => rule == null);
            Rules.ForEach(rule => rule.Normalize());
            NgFolder = string.IsNullOrWhiteSpace(NgFolder) ? defaults.NgFolder : NgFolder;
            NgFormat = NgFormat == "jpg" ? "jpg" : "png";
            NgLimitMegabytes = Clamp(NgLimitMegabytes, 1, 10000000);
            Plc = Plc ?? defaults.Plc;
            Plc.Normalize();
        }

        internal static int Clamp(int value, int low, int high)
        {
            return Math.Max(low, Math.Min(high, value));
        }

        private static float Threshold(float value, float fallback)
        {
            return value >= MinThreshold && value <= MaxThreshold ? value : fallback; // false for NaN too
        }
    }

    /// <summary>Where the window was, in pixels of the screen; width 0 means: never shown.</summary>
    [DataContract]
    public sealed class WindowSettings
    {
        [DataMember(Order = 0)] public int Left { get; set; }
        [DataMember(Order = 1)] public int Top { get; set; }
        [DataMember(Order = 2)] public int Width { get; set; }
        [DataMember(Order = 3)] public int Height { get; set; }
        [DataMember(Order = 4)] public bool Maximized { get; set; }
    }

    /// <summary>How the PLC is reached.</summary>
    [DataContract]
    public sealed class PlcSettings
    {
        [DataMember(Order = 0)] public bool Enabled { get; set; }
        /// <summary>true: this program is the Modbus server and the PLC its client.</summary>
        [DataMember(Order = 1)] public bool Server { get; set; }
        /// <summary>The PLC's address as a client; the address to listen on as a server.</summary>
        [DataMember(Order = 2)] public string Host { get; set; }
        [DataMember(Order = 3)] public int Port { get; set; }
        [DataMember(Order = 4)] public int Unit { get; set; }
        /// <summary>true: a picture is taken when the PLC asks; false: at the set rate.</summary>
        [DataMember(Order = 5)] public bool Triggered { get; set; }

        public PlcSettings()
        {
            SetDefaults();
        }

        [OnDeserializing]
        private void BeforeReading(StreamingContext context)
        {
            SetDefaults();
        }

        private void SetDefaults()
        {
            Server = true;
            Host = "127.0.0.1";
            Port = 1502;
            Unit = 1;
        }

        internal void Normalize()
        {
            Host = string.IsNullOrWhiteSpace(Host) ? "127.0.0.1" : Host.Trim();
            Port = AppSettings.Clamp(Port, 1, 65535);
            Unit = AppSettings.Clamp(Unit, 0, 255);
        }

        /// <summary>A copy, for a thread of its own.</summary>
        public PlcSettings Copy()
        {
            return (PlcSettings)MemberwiseClone();
        }
    }
}
