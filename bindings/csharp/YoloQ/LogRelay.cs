// SPDX-License-Identifier: Apache-2.0
using System;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Threading;
using YoloQ.Native;

namespace YoloQ
{
    /// <summary>How much a log line matters. Numbers of yq_log_level.</summary>
    public enum LogLevel
    {
        /// <summary>For finding faults.</summary>
        Debug = 0,
        /// <summary>What happens.</summary>
        Info = 1,
        /// <summary>Something is odd, and work goes on.</summary>
        Warning = 2,
        /// <summary>Something failed.</summary>
        Error = 3
    }

    /// <summary>A log line.</summary>
    public sealed class LogEventArgs : EventArgs
    {
        internal LogEventArgs(LogLevel level, string message)
        {
            Level = level;
            Message = message;
        }

        /// <summary>How much it matters.</summary>
        public LogLevel Level { get; private set; }
        /// <summary>One line.</summary>
        public string Message { get; private set; }
    }

    /// <summary>Brings native log lines to the handlers of Library.Log.</summary>
    internal static class LogRelay
    {
        private const int PatienceMs = 500;

        private static readonly object Lock = new object();
        private static readonly LogCallback Callback = Receive; // native code calls it: it must never be collected
        private static EventHandler<LogEventArgs> _handlers;
        private static bool _connected;

        internal static void Add(EventHandler<LogEventArgs> handler)
        {
            NativeLoader.Ensure();
            lock (Lock)
            {
                _handlers += handler;
                if (_connected) return;
                _connected = true;
                AppDomain.CurrentDomain.ProcessExit += Disconnect;
                AppDomain.CurrentDomain.DomainUnload += Disconnect;
            }
            SetCallback(Callback);
        }

        // The callback stays: a handler may remove itself, and the library refuses to change its callback from inside one.
        internal static void Remove(EventHandler<LogEventArgs> handler)
        {
            lock (Lock) _handlers -= handler;
        }

        /// <summary>Native threads must not call into a domain that ends. Setting the callback waits for handlers that run,
        /// so it has a thread of its own: a handler that hangs must not keep the process from ending.</summary>
        private static void Disconnect(object sender, EventArgs unused)
        {
            var thread = new Thread(() => SetCallback(null)) { IsBackground = true };
            thread.Start();
            thread.Join(PatienceMs);
        }

        [MethodImpl(MethodImplOptions.NoInlining)] // see NativeMethods
        private static void SetCallback(LogCallback callback)
        {
            NativeMethods.yq_set_log_callback(callback, IntPtr.Zero);
        }

        private static void Receive(IntPtr user, int level, IntPtr message)
        {
            try
            {
                EventHandler<LogEventArgs> handlers = _handlers;
                if (handlers == null) return;
                var line = new LogEventArgs((LogLevel)level, Utf8.Text(message));
                foreach (Delegate handler in handlers.GetInvocationList()) Call((EventHandler<LogEventArgs>)handler, line);
            }
            catch (Exception error) // must not cross native frames
            {
                Trace.TraceError("YoloQ: a log line was lost: " + error.Message);
            }
        }

        private static void Call(EventHandler<LogEventArgs> handler, LogEventArgs line)
        {
            try
            {
                handler(null, line);
            }
            catch (Exception error)
            {
                Trace.TraceError("YoloQ: a handler of Library.Log threw: " + error);
            }
        }
    }
}
