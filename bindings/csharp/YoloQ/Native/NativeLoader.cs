// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.IO;
using System.Runtime.CompilerServices;
using System.Text;
#if NETSTANDARD2_1 || NETCOREAPP
using System.Runtime.InteropServices;
#endif

namespace YoloQ.Native
{
    /// <summary>Finds the native library and loads it by its full path, once, before the first import is bound: where
    /// it comes from never depends on the current folder or PATH.</summary>
    internal static class NativeLoader
    {
        internal const uint AbiVersion = 1;
        internal const string Variable = "YOLOQ_LIBRARY";

        private static readonly object Lock = new object();
        private static volatile bool _ready;
        private static string _chosen; // by Library.Load
        private static string _path;

        internal static bool IsWindows
        {
            get { return Environment.OSVersion.Platform == PlatformID.Win32NT; }
        }

        internal static string FileName
        {
            get { return IsWindows ? "yoloq.dll" : "libyoloq.so"; }
        }

        /// <summary>The full path of the loaded library.</summary>
        internal static string LoadedPath
        {
            get { Ensure(); return _path; }
        }

        /// <summary>Loads the library if it is not loaded yet. A failure is reported again by every call, and a later
        /// call tries again.</summary>
        internal static void Ensure()
        {
            if (_ready) return;
            lock (Lock)
            {
                if (_ready) return;
                _path = Load();
                _ready = true;
            }
        }

        /// <summary>Names the library's file; before anything is loaded.</summary>
        internal static void Choose(string path)
        {
            lock (Lock)
            {
                string full = Path.GetFullPath(path);
                var spelling = IsWindows ? StringComparison.OrdinalIgnoreCase : StringComparison.Ordinal;
                if (_ready && !string.Equals(full, _path, spelling))
                    throw new InvalidOperationException("the native library " + _path + " is loaded already: call "
                        + "Library.Load before anything else of YoloQ");
                _chosen = full;
            }
            Ensure();
        }

        /// <summary>Why this process cannot load the library; null if it can.</summary>
        internal static string Refusal(int pointerBytes)
        {
            if (pointerBytes == 8) return null;
            return "this is a " + pointerBytes * 8 + "-bit process, and " + FileName + " is 64-bit: set the project's "
                + "platform target to x64, or clear \"Prefer 32-bit\"";
        }

        private static string Load()
        {
            string refusal = Refusal(IntPtr.Size);
            if (refusal != null) throw new NativeLibraryException(refusal, "", new string[0]);
            string variable = Environment.GetEnvironmentVariable(Variable);
            string named = _chosen ?? (string.IsNullOrEmpty(variable) ? null : Path.GetFullPath(variable));
            List<string> places = named != null ? new List<string> { named } : Places();
            string path = places.Find(File.Exists);
            if (path == null) throw Missing(places, named != null);
            string reason;
            IntPtr module = SystemLibrary.Open(path, out reason);
            if (module == IntPtr.Zero)
                throw new NativeLibraryException("cannot load " + path + ": " + reason, path, places);
            Check(module, path, places);
            return path;
        }

        /// <summary>Where the library may lie, best first.</summary>
        private static List<string> Places()
        {
            var folders = new List<string>();
            string assembly = typeof(NativeLoader).Assembly.Location; // "" in a single-file program
            if (assembly.Length > 0) folders.Add(Path.GetDirectoryName(assembly));
            folders.Add(AppDomain.CurrentDomain.BaseDirectory);
            var places = new List<string>();
            foreach (string folder in folders)
            {
                Add(places, Path.Combine(folder, FileName));
                Add(places, Path.Combine(folder, "runtimes", RuntimeIdentifier, "native", FileName));
            }
            // .NET's host lists the native folders of the program's packages here.
            var host = AppDomain.CurrentDomain.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") as string ?? "";
            foreach (string folder in host.Split(new[] { Path.PathSeparator }, StringSplitOptions.RemoveEmptyEntries))
                Add(places, Path.Combine(folder, FileName));
            return places;
        }

        private static void Add(List<string> places, string path)
        {
            string full = Path.GetFullPath(path);
            if (!places.Contains(full)) places.Add(full);
        }

        private static string RuntimeIdentifier
        {
            get
            {
                string system = IsWindows ? "win-" : "linux-";
#if NETSTANDARD2_1 || NETCOREAPP
                return system + RuntimeInformation.ProcessArchitecture.ToString().ToLowerInvariant();
#else
                return system + "x64"; // .NET Framework 4.6.2 cannot tell
#endif
            }
        }

        private static NativeLibraryException Missing(List<string> places, bool named)
        {
            var text = new StringBuilder(FileName);
            text.Append(" was not found. ");
            text.Append(named ? "It was named by " + (_chosen != null ? "Library.Load" : Variable) + ": "
                              : "Copy the native files of the YoloQ package beside YoloQ.Net.dll. Looked for: ");
            text.Append(string.Join("; ", places));
            return new NativeLibraryException(text.ToString(), places[0], places);
        }

        /// <summary>The imports must be bound to the file that was loaded, and it must speak this ABI.</summary>
        [MethodImpl(MethodImplOptions.NoInlining)] // see NativeMethods
        private static void Check(IntPtr module, string path, List<string> places)
        {
            uint found;
            IntPtr version;
            try
            {
                found = NativeMethods.yq_abi_version();
                version = NativeMethods.yq_version();
            }
            catch (Exception error) when (error is DllNotFoundException || error is EntryPointNotFoundException
                || error is BadImageFormatException)
            {
                throw new NativeLibraryException("cannot use " + path + ": " + error.Message, path, places);
            }
            if (found != AbiVersion)
                throw new NativeLibraryException(path + " has ABI " + found + ", this YoloQ.Net.dll needs " + AbiVersion
                    + ": take both from one release", path, places);
            // yq_version's text is static: another address means another copy of the library.
            if (SystemLibrary.TextOf(module, "yq_version") != version)
                throw new NativeLibraryException("another copy of " + FileName + " than " + path + " is loaded in this "
                    + "process: keep one, beside YoloQ.Net.dll", path, places);
        }
    }
}
