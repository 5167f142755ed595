// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Linq;

namespace YoloQ.WinForms.Model
{
    /// <summary>Rules bound to a package's classes. Immutable; any thread may judge with it.</summary>
    public sealed class RuleBook
    {
        private const int AnyClass = -1;
        private const int UnknownClass = -2;

        private readonly Rule[] _rules;
        private readonly int[] _classes;

        public RuleBook(IEnumerable<Rule> rules, IReadOnlyList<string> classNames)
        {
            _rules = rules.Where(rule => rule.Enabled).Select(rule => rule.Copy()).ToArray();
            string[] names = classNames.ToArray();
            _classes = _rules.Select(rule => ClassOf(rule, names)).ToArray();
        }

        /// <summary>Rules that name a class the package does not have: they count 0 objects. Worth a warning.</summary>
        public IEnumerable<Rule> Unknown
        {
            get { return _rules.Where((rule, i) => _classes[i] == UnknownClass); }
        }

        public int Count
        {
            get { return _rules.Length; }
        }

        public Rule this[int index]
        {
            get { return _rules[index]; }
        }

        /// <summary>Fills <paramref name="verdict"/>; allocates nothing.</summary>
        public void Judge(Detection[] found, int count, Verdict verdict)
        {
            verdict.Clear();
            for (int i = 0; i < _rules.Length; i++)
            {
                int seen = 0;
                for (int k = 0; k < count; k++)
                {
                    seen += Counts(i, ref found[k]) ? 1 : 0;
                }
                bool broken = _rules[i].Comparison == Comparison.AtLeast ? seen >= _rules[i].Count : seen < _rules[i].Count;
                if (!broken)
                {
                    continue;
                }
                verdict.AddBroken(i);
                verdict.Blame(_classes[i]);
                for (int k = 0; k < count; k++)
                {
                    if (Counts(i, ref found[k]))
                    {
                        verdict.Blame(found[k].ClassId);
                    }
                }
            }
        }

        private bool Counts(int rule, ref Detection detection)
        {
            return (_classes[rule] == AnyClass || _classes[rule] == detection.ClassId)
                && detection.Score >= _rules[rule].MinScore;
        }

        private static int ClassOf(Rule rule, string[] names)
        {
            int index = rule.ClassName.Length == 0 ? AnyClass : Array.IndexOf(names, rule.ClassName);
            return rule.ClassName.Length > 0 && index < 0 ? UnknownClass : index;
        }
    }

    /// <summary>What the rules say about one picture. Reused; belongs to one thread at a time.</summary>
    public sealed class Verdict
    {
        private readonly List<int> _broken = new List<int>();
        private bool[] _blamed = new bool[0];

        public bool Ok
        {
            get { return _broken.Count == 0; }
        }

        /// <summary>Indices of the broken rules in their book.</summary>
        public IReadOnlyList<int> Broken
        {
            get { return _broken; }
        }

        /// <summary>true if a broken rule is about this class.</summary>
        public bool IsBlamed(int classId)
        {
            return classId >= 0 && classId < _blamed.Length && _blamed[classId];
        }

        internal void Clear()
        {
            _broken.Clear();
            Array.Clear(_blamed, 0, _blamed.Length);
        }

        internal void AddBroken(int rule)
        {
            _broken.Add(rule);
        }

        internal void Blame(int classId)
        {
            if (classId < 0)
            {
                return;
            }
            if (classId >= _blamed.Length)
            {
                Array.Resize(ref _blamed, classId + 1);
            }
            _blamed[classId] = true;
        }

        internal void CopyTo(Verdict other)
        {
            other._broken.Clear();
            other._broken.AddRange(_broken);
            if (other._blamed.Length != _blamed.Length)
            {
                other._blamed = new bool[_blamed.Length];
            }
            Array.Copy(_blamed, other._blamed, _blamed.Length);
        }
    }
}
