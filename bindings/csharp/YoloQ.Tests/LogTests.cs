// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Concurrent;
using System.Linq;

namespace YoloQ.Tests
{
    /// <summary>Library.Log. Losing a device writes log lines.</summary>
    internal static class LogTests
    {
        private static void MakeLines()
        {
            using (Detector detector = Given.Dummy("lost"))
                for (int i = 0; i < 3; ++i)
                    try
                    {
                        detector.Detect(Given.View);
                    }
                    catch (DeviceException)
                    {
                        // what makes the lines
                    }
        }

        public static void LinesArrive()
        {
            var lines = new ConcurrentQueue<LogEventArgs>();
            EventHandler<LogEventArgs> handler = (sender, line) => lines.Enqueue(line);
            Library.Log += handler;
            MakeLines();
            Library.Log -= handler;
            Check.True(lines.Any(line => line.Level >= LogLevel.Warning && line.Message.Contains("lost")),
                string.Join("; ", lines.Select(line => line.Level + " " + line.Message)));
            int count = lines.Count;
            MakeLines();
            Check.Equal(count, lines.Count, "no lines after the handler was removed");
        }

        public static void AHandlersExceptionGoesNoFurther()
        {
            int after = 0;
            EventHandler<LogEventArgs> bad = (sender, line) => { throw new InvalidOperationException("from a handler"); };
            EventHandler<LogEventArgs> good = (sender, line) => ++after;
            Library.Log += bad;
            Library.Log += good;
            MakeLines();
            Library.Log -= bad;
            Library.Log -= good;
            Check.True(after > 0, "the next handler is called all the same");
        }

        public static void AHandlerMayRemoveItself()
        {
            int calls = 0;
            EventHandler<LogEventArgs> handler = null;
            handler = (sender, line) =>
            {
                ++calls;
                Library.Log -= handler;
            };
            Library.Log += handler;
            MakeLines();
            Check.Equal(1, calls, "calls");
        }

        public static void TheDelegateIsKeptAlive()
        {
            int calls = 0;
            EventHandler<LogEventArgs> handler = (sender, line) => ++calls;
            Library.Log += handler;
            for (int i = 0; i < 3; ++i)
            {
                GC.Collect();
                GC.WaitForPendingFinalizers();
                MakeLines();
            }
            Library.Log -= handler;
            Check.True(calls >= 3, "calls: " + calls);
        }
    }
}
