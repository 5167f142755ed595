// SPDX-License-Identifier: Apache-2.0
using System;
using System.Diagnostics;
using System.Threading;

namespace YoloQ.Tests
{
    /// <summary>A check that did not hold.</summary>
    internal sealed class CheckFailed : Exception
    {
        internal CheckFailed(string message) : base(message) { }
    }

    /// <summary>What tests say about values.</summary>
    internal static class Check
    {
        internal static void True(bool value, string what)
        {
            if (!value) throw new CheckFailed(what);
        }

        internal static void Equal<T>(T expected, T found, string what)
        {
            if (!Equals(expected, found)) throw new CheckFailed(what + ": expected " + expected + ", found " + found);
        }

        internal static void Contains(string part, string text)
        {
            if (text.IndexOf(part, StringComparison.Ordinal) < 0)
                throw new CheckFailed("\"" + part + "\" is not in \"" + text + "\"");
        }

        /// <summary>`action` throws exactly a T whose message holds all `parts`.</summary>
        internal static T Throws<T>(Action action, params string[] parts) where T : Exception
        {
            try
            {
                action();
            }
            catch (Exception error)
            {
                var inner = error is AggregateException ? error.InnerException : error;
                if (inner.GetType() != typeof(T))
                    throw new CheckFailed("expected " + typeof(T).Name + ", found " + inner);
                foreach (string part in parts) Contains(part, inner.Message);
                Check.True(inner.Message.IndexOf('\n') < 0 || !(inner is YoloException), "a message of several lines");
                return (T)inner;
            }
            throw new CheckFailed("expected " + typeof(T).Name + ", nothing was thrown");
        }

        /// <summary>The same objects; on Linux bit for bit.</summary>
        internal static void Same(Detection[] expected, DetectionResult found, float tolerance = 0)
        {
            Equal(expected.Length, found.Count, "number of detections");
            for (int i = 0; i < expected.Length; ++i)
            {
                Detection a = expected[i], b = found[i];
                bool near = Math.Abs(a.Score - b.Score) <= tolerance && Math.Abs(a.X1 - b.X1) <= tolerance * 100
                    && Math.Abs(a.Y1 - b.Y1) <= tolerance * 100 && Math.Abs(a.X2 - b.X2) <= tolerance * 100
                    && Math.Abs(a.Y2 - b.Y2) <= tolerance * 100 && Math.Abs(a.Angle - b.Angle) <= tolerance;
                if (a.ClassId != b.ClassId || !near)
                    throw new CheckFailed("detection " + i + ": expected " + a + ", found " + b);
            }
        }

        /// <summary>Waits until `done` holds, at most 10 s.</summary>
        internal static void Soon(Func<bool> done, string what)
        {
            var clock = Stopwatch.StartNew();
            while (!done())
            {
                if (clock.ElapsedMilliseconds > 10000) throw new CheckFailed("not within 10 s: " + what);
                Thread.Sleep(5);
            }
        }
    }
}
