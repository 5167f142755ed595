// SPDX-License-Identifier: Apache-2.0
using System;
using System.Runtime.InteropServices;
using System.Security;

namespace YoloQ.Native
{
    /// <summary>Receives a log line from native code.</summary>
    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    internal delegate void LogCallback(IntPtr user, int level, IntPtr message);

    /// <summary>The functions of yoloq.h, one to one. Call NativeLoader.Ensure() before the first one, and from another
    /// method: Mono binds an import when it compiles the method that calls it, so that such methods must not be inlined
    /// into one that runs Ensure.</summary>
    [SuppressUnmanagedCodeSecurity]
    internal static unsafe class NativeMethods
    {
        // NativeLoader has loaded the library by its full path; every import then finds it by its name. The search
        // paths exclude the current folder and PATH.
        internal const string Library = "yoloq";
        private const DllImportSearchPath Search = DllImportSearchPath.System32;

        [DllImport(Library, ExactSpelling = true, CallingConvention = CallingConvention.Cdecl)]
        [DefaultDllImportSearchPaths(Search)]
        internal static extern IntPtr yq_last_error();

        [DllImport(Library, ExactSpelling = true, CallingConvention = CallingConvention.Cdecl)]
        [DefaultDllImportSearchPaths(Search)]
        internal static extern IntPtr yq_status_name(int status);

        [DllImport(Library, ExactSpelling = true, CallingConvention = CallingConvention.Cdecl)]
        [DefaultDllImportSearchPaths(Search)]
        internal static extern IntPtr yq_version();

        [DllImport(Library, ExactSpelling = true, CallingConvention = CallingConvention.Cdecl)]
        [DefaultDllImportSearchPaths(Search)]
        internal static extern uint yq_abi_version();

        [DllImport(Library, ExactSpelling = true, CallingConvention = CallingConvention.Cdecl)]
        [DefaultDllImportSearchPaths(Search)]
        internal static extern int yq_create(out IntPtr detector, byte* packagePath, ref yq_options options);

        [DllImport(Library, ExactSpelling = true, CallingConvention = CallingConvention.Cdecl)]
        [DefaultDllImportSearchPaths(Search)]
        internal static extern int yq_infer(DetectorHandle detector, ref yq_image image, ref yq_call call,
            Detection* found, uint capacity, out uint count);

        [DllImport(Library, ExactSpelling = true, CallingConvention = CallingConvention.Cdecl)]
        [DefaultDllImportSearchPaths(Search)]
        internal static extern int yq_infer_batch(DetectorHandle detector, yq_image* images, uint n, ref yq_call call,
            Detection* found, uint capacityEach, uint* counts, int* statuses);

        [DllImport(Library, ExactSpelling = true, CallingConvention = CallingConvention.Cdecl)]
        [DefaultDllImportSearchPaths(Search)]
        internal static extern void yq_destroy(IntPtr detector);

        [DllImport(Library, ExactSpelling = true, CallingConvention = CallingConvention.Cdecl)]
        [DefaultDllImportSearchPaths(Search)]
        internal static extern int yq_get_info(DetectorHandle detector, ref yq_info info);

        [DllImport(Library, ExactSpelling = true, CallingConvention = CallingConvention.Cdecl)]
        [DefaultDllImportSearchPaths(Search)]
        internal static extern IntPtr yq_class_name(DetectorHandle detector, int id);

        [DllImport(Library, ExactSpelling = true, CallingConvention = CallingConvention.Cdecl)]
        [DefaultDllImportSearchPaths(Search)]
        internal static extern int yq_get_stats(DetectorHandle detector, ref yq_stats stats);

        [DllImport(Library, ExactSpelling = true, CallingConvention = CallingConvention.Cdecl)]
        [DefaultDllImportSearchPaths(Search)]
        internal static extern uint yq_backend_count();

        [DllImport(Library, ExactSpelling = true, CallingConvention = CallingConvention.Cdecl)]
        [DefaultDllImportSearchPaths(Search)]
        internal static extern int yq_backend_info(uint index, ref yq_backend_desc description);

        [DllImport(Library, ExactSpelling = true, CallingConvention = CallingConvention.Cdecl)]
        [DefaultDllImportSearchPaths(Search)]
        internal static extern void yq_set_log_callback(LogCallback callback, IntPtr user);
    }
}
