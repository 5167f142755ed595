// SPDX-License-Identifier: Apache-2.0
using System.Runtime.Serialization;

namespace YoloQ.WinForms.Model
{
    public enum Comparison
    {
        /// <summary>NG if there are this many objects or more: a defect.</summary>
        AtLeast = 0,
        /// <summary>NG if there are fewer objects than this: a missing part.</summary>
        FewerThan = 1
    }

    /// <summary>One line of the rule editor: which class, how many, above which score makes a picture NG.</summary>
    [DataContract]
    public sealed class Rule
    {
        /// <summary>The class by name, so that a rule outlives a retrained model; "" means any class.</summary>
        [DataMember(Order = 0)] public string ClassName { get; set; }
        [DataMember(Order = 1)] public Comparison Comparison { get; set; }
        [DataMember(Order = 2)] public int Count { get; set; }
        /// <summary>Only objects with this score or more are counted, 0 to 1.</summary>
        [DataMember(Order = 3)] public float MinScore { get; set; }
        [DataMember(Order = 4)] public bool Enabled { get; set; }

        public Rule()
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
            ClassName = "";
            Count = 1;
            MinScore = 0.5f;
            Enabled = true;
        }

        internal void Normalize()
        {
            ClassName = ClassName ?? "";
            Comparison = Comparison == Comparison.FewerThan ? Comparison.FewerThan : Comparison.AtLeast;
            Count = AppSettings.Clamp(Count, 1, 9999);
            MinScore = MinScore >= 0 && MinScore <= 1 ? MinScore : 0.5f;
        }

        public Rule Copy()
        {
            return (Rule)MemberwiseClone();
        }

        /// <summary>Short and the same in every language, such as "scratch ≥ 1 @ 0.50".</summary>
        public override string ToString()
        {
            string name = ClassName.Length == 0 ? "*" : ClassName;
            string sign = Comparison == Comparison.AtLeast ? "≥" : "<";
            return string.Format(System.Globalization.CultureInfo.InvariantCulture, "{0} {1} {2} @ {3:0.00}", name, sign, Count, MinScore);
        }
    }
}
