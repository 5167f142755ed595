// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using YoloQ.Native;

namespace YoloQ
{
    /// <summary>A backend module beside the native library, and whether it can run here.</summary>
    public sealed class BackendDescription
    {
        internal unsafe BackendDescription(yq_backend_desc description)
        {
            Name = Utf8.Text(description.name, 32);
            IsUsable = description.usable != 0;
            Version = Utf8.Text(description.version, 64);
            Reason = Utf8.Text(description.reason, 256);
        }

        /// <summary>For DetectorOptions.Backend.</summary>
        public string Name { get; private set; }
        /// <summary>Whether it can run here.</summary>
        public bool IsUsable { get; private set; }
        /// <summary>Its SDK and version; "" if it could not be loaded.</summary>
        public string Version { get; private set; }
        /// <summary>Why it is not usable, and what to do; "" if it is.</summary>
        public string Reason { get; private set; }

        /// <summary>For logs.</summary>
        public override string ToString()
        {
            return Name + (IsUsable ? " (" + Version + ")" : ": " + Reason);
        }
    }

    /// <summary>The native library. Every member may be used from any thread, and loads the library (Log: when a handler is
    /// added); NativeLibraryException if it cannot be used.</summary>
    public static class Library
    {
        /// <summary>The native library's version, such as "0.1.0".</summary>
        public static string Version
        {
            get
            {
                NativeLoader.Ensure();
                return ReadVersion();
            }
        }

        /// <summary>The full path of the native library.</summary>
        public static string Path
        {
            get { return NativeLoader.LoadedPath; }
        }

        /// <summary>The backend modules beside the native library. Loads each the first time it is asked for.</summary>
        public static IReadOnlyList<BackendDescription> Backends
        {
            get
            {
                NativeLoader.Ensure();
                return ReadBackends();
            }
        }

        /// <summary>The library's log lines. Handlers run on the thread that logs, often a native one, also several at once:
        /// return soon, dispose no detector there, and use Control.BeginInvoke rather than Invoke. Exceptions of a handler are
        /// reported to System.Diagnostics.Trace and go no further.</summary>
        public static event EventHandler<LogEventArgs> Log
        {
            add { LogRelay.Add(value); }
            remove { LogRelay.Remove(value); }
        }

        /// <summary>Loads the native library from a file of your choice; call it before anything else of YoloQ. Without it the
        /// library is looked for in the file named by the environment variable YOLOQ_LIBRARY or else beside YoloQ.Net.dll and the
        /// program, there also in runtimes/win-x64/native (linux-x64), and in the folders of the program's NuGet packages.</summary>
        /// <param name="path">the file yoloq.dll (libyoloq.so); its other files lie beside it</param>
        /// <exception cref="InvalidOperationException">another file is loaded already</exception>
        public static void Load(string path)
        {
            if (path == null) throw new ArgumentNullException("path");
            NativeLoader.Choose(path);
        }

        [MethodImpl(MethodImplOptions.NoInlining)] // see NativeMethods
        private static string ReadVersion()
        {
            return Utf8.Text(NativeMethods.yq_version());
        }

        [MethodImpl(MethodImplOptions.NoInlining)] // see NativeMethods
        private static BackendDescription[] ReadBackends()
        {
            var list = new BackendDescription[NativeMethods.yq_backend_count()];
            for (uint i = 0; i < list.Length; ++i) list[i] = Describe(i);
            return list;
        }

        private static unsafe BackendDescription Describe(uint index)
        {
            var description = new yq_backend_desc { size = (uint)sizeof(yq_backend_desc) };
            int status = NativeMethods.yq_backend_info(index, ref description);
            if (status != 0) throw YoloException.LastError(status);
            return new BackendDescription(description);
        }
    }
}
